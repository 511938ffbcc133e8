<?php

declare(strict_types=1);

namespace Websock;

/**
 * What can go wrong once the arguments are usable. One subclass for each thing that a caller may want to do about it:
 *
 *     WebsockException
 *      ├ ConnectException    no TCP or TLS connection: name, port, certificate
 *      ├ RefusedException    a server answered, and said no
 *      ├ TimeoutException    the time given was over first
 *      ├ ClosedException     the connection ended; code and reason as the peer gave them
 *      ├ ProtocolException   the peer does not speak RFC 6455 or HTTP, or is another kind of server
 *      └ MessageException    this one message can't be sent; the connection is as good as before
 *
 * Arguments that can't be used (a malformed address, a line break in a header field) are \InvalidArgumentException.
 */
class WebsockException extends \RuntimeException
{
}
