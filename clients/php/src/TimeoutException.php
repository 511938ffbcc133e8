<?php

declare(strict_types=1);

namespace Websock;

/** The time given was over first. What had been sent by then may have arrived, or not. */
final class TimeoutException extends WebsockException
{
}
