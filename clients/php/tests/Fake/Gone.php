<?php

declare(strict_types=1);

namespace Websock\Tests\Fake;

/** The client of a fake server has closed the connection, or said nothing for too long. */
final class Gone extends \RuntimeException
{
}
