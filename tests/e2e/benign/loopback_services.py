"""Uses: asyncio servers and clients on loopback, TCP, UDP and Unix, with timeouts, locks, queues and cancellation.
Expect: {"answer": "tcp 45, udp 3, unix ok, gathered 4950, cancelled True, timeout True"}
"""
import asyncio


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data.upper(), address)


class Replies(asyncio.DatagramProtocol):
    def __init__(self):
        self.got = asyncio.Queue()

    def datagram_received(self, data, address):
        self.got.put_nowait(data)


async def client(port, number):
    reader, writer = await asyncio.open_connection("localhost", port)
    writer.write(f"{number}\n".encode())
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return int(line)


async def work():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        tcp = sum(await asyncio.gather(*(client(port, number) for number in range(10))))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    address = transport.get_extra_info("sockname")
    sender, replies = await loop.create_datagram_endpoint(Replies, remote_addr=address)
    udp = 0
    for _ in range(3):
        sender.sendto(b"ping")
        udp += await asyncio.wait_for(replies.got.get(), 5) == b"PING"
    sender.close()
    transport.close()
    unix_server = await asyncio.start_unix_server(echo, "/tmp/echo.sock")
    reader, writer = await asyncio.open_unix_connection("/tmp/echo.sock")
    writer.write(b"unix\n")
    unix = await reader.readline()
    writer.close()
    unix_server.close()
    lock, total = asyncio.Lock(), 0

    async def add(number):
        nonlocal total
        async with lock:
            before = total
            await asyncio.sleep(0)
            total = before + number

    await asyncio.gather(*(add(number) for number in range(100)))
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    try:
        await asyncio.wait_for(asyncio.sleep(60), 0.01)
        late = False
    except TimeoutError:
        late = True
    return f"tcp {tcp}, udp {udp}, unix {'ok' if unix == b'unix' + bytes([10]) else unix}, gathered {total}, cancelled {task.cancelled()}, timeout {late}"


def main(query):
    return {"answer": asyncio.run(work())}
