"""Uses: http.server in a thread with urllib and http.client against it, socketserver, xmlrpc, selectors, select, socket pairs, TLS contexts.
Expect: {"answer": "get hello, post 5, missing 404, head 200, rpc 5, datagram PONG, ready 1, tls True, name localhost"}
"""
import http.client
import http.server
import selectors
import socket
import socketserver
import ssl
import threading
import urllib.error
import urllib.request
import xmlrpc.client
import xmlrpc.server


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.answer(200, b"hello") if self.path == "/" else self.answer(404, b"")

    do_HEAD = do_GET

    def do_POST(self):
        self.answer(200, str(len(self.rfile.read(int(self.headers["Content-Length"])))).encode())

    def log_message(self, *arguments):
        pass


class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(b"PONG", self.client_address)


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main(query):
    port = serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    url = f"http://localhost:{port}/"
    got = urllib.request.urlopen(url, timeout=10).read().decode()
    posted = urllib.request.urlopen(url, data=b"12345", timeout=10).read().decode()
    try:
        urllib.request.urlopen(url + "missing", timeout=10)
        missing = 200
    except urllib.error.HTTPError as error:
        missing = error.code
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("HEAD", "/")
    head = connection.getresponse().status
    rpc = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
    rpc.register_function(lambda one, two: one + two, "add")
    added = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{serve(rpc)}").add(2, 3)
    datagrams = socketserver.UDPServer(("127.0.0.1", 0), Datagram)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(10)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sender.sendto(b"PING", ("127.0.0.1", serve(datagrams)))
        pong = sender.recv(100).decode()
    one, two = socket.socketpair()
    with selectors.DefaultSelector() as selector:
        selector.register(two, selectors.EVENT_READ)
        one.sendall(b"x")
        ready = len(selector.select(10))
    context = ssl.create_default_context()
    tls = context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    name = "localhost" if socket.gethostbyname("localhost") == "127.0.0.1" else "unknown"
    return {"answer": f"get {got}, post {posted}, missing {missing}, head {head}, rpc {added}, datagram {pong}, ready {ready}, tls {tls}, name {name}"}
