<?php

declare(strict_types=1);

namespace Websock;

/** There is no connection: the name does not resolve, nobody listens, or the certificate is not one to trust. */
final class ConnectException extends WebsockException
{
}
