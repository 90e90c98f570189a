"""Does what ordinary programs do."""

import asyncio, concurrent.futures, multiprocessing, os, queue, socket, sqlite3, subprocess, sys
import tempfile, threading, time

def square(n): return n * n

async def both():
    process = await asyncio.create_subprocess_exec("echo", "sub", stdout=-1)
    out, _ = await process.communicate()
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("localhost", port)
    return [out.decode(), (await reader.read()).decode()]

def main(query):
    result = {"asyncio": asyncio.run(both())}
    with multiprocessing.Pool(2) as pool: result["pool"] = pool.map(square, range(4))
    with concurrent.futures.ProcessPoolExecutor(2) as pool: result["executor"] = list(pool.map(square, range(3)))
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool: result["spawn"] = pool.map(square, [5])
    with multiprocessing.Semaphore(2): result["semaphore"] = True
    database = sqlite3.connect("data.db")
    database.execute("create table t (n)")
    database.execute("insert into t values (7)")
    database.commit()
    result["sqlite"] = database.execute("select n from t").fetchall()
    result["subprocess"] = subprocess.run([sys.executable, "-c", "print(1 + 1)"], capture_output=True, text=True).stdout
    thread = threading.Thread(target=lambda: result.update(thread=True))
    thread.start(); thread.join()
    with tempfile.NamedTemporaryFile() as file: result["temporary"] = file.name.startswith("/tmp/")
    result["home"] = os.path.expanduser("~")
    result["hash"] = hash("stable")
    result["cores"] = os.cpu_count() > 0
    script = "#!/bin/sh\necho ran\n"
    open("script.sh", "w").write(script)
    os.chmod("script.sh", 0o755)
    result["script"] = subprocess.run(["./script.sh"], capture_output=True, text=True).stdout
    return {"answer": result}
