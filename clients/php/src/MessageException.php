<?php

declare(strict_types=1);

namespace Websock;

/** This one message can't be sent (it is no JSON, or addressed to nobody), or the server declined it. */
final class MessageException extends WebsockException
{
}
