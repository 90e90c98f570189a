"""Uses: sqlite3 with WAL, transactions, several connections in threads, full-text search, functions, backup; dbm and shelve.
Expect: {"answer": "wal wal, rows 400, rolled back 400, found ['second'], function 42, backup 400, shelf 3, integrity ok"}
"""
import shelve
import sqlite3
import threading


def main(query):
    database = sqlite3.connect("data.db", isolation_level=None)
    (mode,) = database.execute("pragma journal_mode = wal").fetchone()
    database.execute("create table rows (thread, number)")

    def insert(thread):
        connection = sqlite3.connect("data.db", timeout=30)
        for number in range(100):
            with connection:
                connection.execute("insert into rows values (?, ?)", (thread, number))
        connection.close()

    threads = [threading.Thread(target=insert, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (rows,) = database.execute("select count(*) from rows").fetchone()
    database.execute("begin")
    database.execute("delete from rows")
    database.execute("rollback")
    (after,) = database.execute("select count(*) from rows").fetchone()
    database.execute("create virtual table texts using fts5(name, body)")
    database.executemany("insert into texts values (?, ?)", [("first", "cats and dogs"), ("second", "birds and fish")])
    found = [name for (name,) in database.execute("select name from texts where texts match 'fish'")]
    database.create_function("double", 1, lambda value: 2 * value)
    (doubled,) = database.execute("select double(21)").fetchone()
    copy = sqlite3.connect("copy.db")
    database.backup(copy)
    (copied,) = copy.execute("select count(*) from rows").fetchone()
    copy.close()
    with shelve.open("shelf") as shelf:
        shelf["list"] = [1, 2, 3]
    with shelve.open("shelf") as shelf:
        shelved = len(shelf["list"])
    (integrity,) = database.execute("pragma integrity_check").fetchone()
    database.close()
    return {"answer": f"wal {mode}, rows {rows}, rolled back {after}, found {found}, function {doubled}, backup {copied}, shelf {shelved}, integrity {integrity}"}
