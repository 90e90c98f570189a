//! What functions of Python's library do, by their whole names.

/// What a function does with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Remove,
    Write,
    Create,
    Change,
    /// Its second argument is written.
    WriteSecond,
    /// Its first argument goes away, and the second is written.
    Move,
    /// The second argument is a link to the first.
    Link,
    /// It opens a file; its mode says whether to write.
    Open,
    /// The argument that is a file's descriptor flags says whether to write.
    OpenFlags,
    /// A program: a list of words, or a text for a shell.
    Run,
    /// A program: its file, then a list of its words.
    RunList,
    /// A program: its file, then each of its words.
    RunWords,
    /// The same after a mode.
    SpawnList,
    SpawnWords,
    /// Code of Python.
    Evaluate,
    /// A file with code of Python.
    RunFile,
    ChangeDirectory,
    Import,
    /// Paths in a directory, or by a pattern.
    List,
    Glob,
    WalkTree,
    Join,
    /// The same path, said otherwise.
    Same,
    Parent,
    LastName,
    Variable,
    Here,
    Home,
    Temporary,
    Kill,
    Fork,
    Attribute,
    Decode,
    Apply,
    Partial,
    Text,
    /// Something that is no path.
    Plain,
    /// A sequence with the same elements.
    Elements,
    Edit,
}

/// Names that `from MODULE import *` brings.
pub(super) fn all_of(module: &str) -> &'static [&'static str] {
    match module {
        "os" => &[
            "remove",
            "unlink",
            "rmdir",
            "removedirs",
            "rename",
            "replace",
            "system",
            "popen",
            "chdir",
            "listdir",
            "walk",
            "makedirs",
            "mkdir",
            "environ",
            "path",
            "execvp",
            "execv",
            "execlp",
            "execl",
            "truncate",
            "chmod",
            "chown",
            "symlink",
            "kill",
            "getcwd",
        ],
        "shutil" => &["rmtree", "move", "copy", "copy2", "copyfile", "copytree"],
        "subprocess" => &[
            "run",
            "call",
            "check_call",
            "check_output",
            "Popen",
            "getoutput",
        ],
        "pathlib" => &["Path", "PosixPath"],
        "glob" => &["glob", "iglob"],
        _ => &[],
    }
}

/// What the function of this name does.
#[expect(
    clippy::too_many_lines,
    reason = "one arm for each kind, a table in essence"
)]
pub(super) fn does(name: &str) -> Option<Does> {
    Some(match name {
        "os.remove"
        | "os.unlink"
        | "os.rmdir"
        | "os.removedirs"
        | "shutil.rmtree"
        | "posix.unlink"
        | "posix.remove"
        | "posix.rmdir"
        | "nt.unlink"
        | "send2trash.send2trash"
        | "send2trash"
        | "distutils.dir_util.remove_tree"
        | "dir_util.remove_tree"
        | "distutils.file_util.remove"
        | "pathlib.Path.unlink"
        | "pathlib.Path.rmdir"
        | "Path.unlink"
        | "aiofiles.os.remove" => Does::Remove,
        "os.makedirs" | "os.mkdir" | "os.mknod" | "os.mkfifo" | "pathlib.Path.touch"
        | "pathlib.Path.mkdir" => Does::Create,
        "os.truncate"
        | "os.utime"
        | "pathlib.Path.write_text"
        | "pathlib.Path.write_bytes"
        | "shelve.open"
        | "dbm.open"
        | "logging.FileHandler"
        | "shutil.make_archive"
        | "numpy.save"
        | "numpy.savez"
        | "numpy.savetxt"
        | "np.save"
        | "np.savez"
        | "np.savetxt"
        | "cv2.imwrite"
        | "imageio.imwrite"
        | "torch.save"
        | "joblib.dump" => {
            match name {
                // Their path comes second.
                "torch.save" | "joblib.dump" => Does::WriteSecond,
                _ => Does::Write,
            }
        }
        "os.chmod" | "os.chown" | "os.lchown" | "os.lchmod" | "shutil.chown" => Does::Change,
        "shutil.copy"
        | "shutil.copy2"
        | "shutil.copyfile"
        | "shutil.copytree"
        | "shutil.copymode"
        | "shutil.copystat"
        | "shutil.unpack_archive"
        | "urllib.request.urlretrieve"
        | "urllib.urlretrieve"
        | "wget.download" => Does::WriteSecond,
        "os.rename" | "os.renames" | "os.replace" | "shutil.move" => Does::Move,
        "os.symlink" | "os.link" => Does::Link,
        "open"
        | "io.open"
        | "codecs.open"
        | "io.FileIO"
        | "gzip.open"
        | "bz2.open"
        | "lzma.open"
        | "gzip.GzipFile"
        | "bz2.BZ2File"
        | "zipfile.ZipFile"
        | "tarfile.open"
        | "tarfile.TarFile"
        | "tarfile.TarFile.open"
        | "aiofiles.open"
        | "wave.open"
        | "pathlib.Path.open" => Does::Open,
        "os.open" => Does::OpenFlags,
        "os.system"
        | "os.popen"
        | "posix.system"
        | "subprocess.run"
        | "subprocess.call"
        | "subprocess.check_call"
        | "subprocess.check_output"
        | "subprocess.Popen"
        | "subprocess.getoutput"
        | "subprocess.getstatusoutput"
        | "pty.spawn"
        | "commands.getoutput"
        | "commands.getstatusoutput"
        | "os.popen2"
        | "os.popen3"
        | "asyncio.create_subprocess_shell"
        | "sh.bash"
        | "pexpect.run"
        | "pexpect.spawn"
        | "platform.popen"
        | "invoke.run"
        | "os.startfile"
        | "anyio.run_process" => Does::Run,
        "asyncio.create_subprocess_exec"
        | "os.execl"
        | "os.execle"
        | "os.execlp"
        | "os.execlpe" => Does::RunWords,
        "os.execv" | "os.execve" | "os.execvp" | "os.execvpe" | "os.posix_spawn"
        | "os.posix_spawnp" | "posix.execv" | "posix.execve" => Does::RunList,
        "os.spawnv" | "os.spawnve" | "os.spawnvp" | "os.spawnvpe" => Does::SpawnList,
        "os.spawnl" | "os.spawnle" | "os.spawnlp" | "os.spawnlpe" => Does::SpawnWords,
        "exec"
        | "eval"
        | "compile"
        | "code.interact"
        | "timeit.timeit"
        | "timeit.repeat"
        | "timeit.Timer"
        | "cProfile.run"
        | "profile.run"
        | "pdb.run"
        | "code.InteractiveInterpreter" => Does::Evaluate,
        "runpy.run_path" | "execfile" => Does::RunFile,
        "os.chdir" | "contextlib.chdir" => Does::ChangeDirectory,
        "__import__" | "importlib.import_module" | "importlib.__import__" => Does::Import,
        "os.listdir" | "os.scandir" => Does::List,
        "glob.glob" | "glob.iglob" => Does::Glob,
        "os.walk" | "os.fwalk" => Does::WalkTree,
        "os.path.join" | "posixpath.join" | "path.join" => Does::Join,
        "pathlib.Path" | "pathlib.PosixPath" | "pathlib.PurePath" | "pathlib.PurePosixPath" => {
            Does::Join
        }
        "os.path.abspath"
        | "os.path.realpath"
        | "os.path.normpath"
        | "os.path.expanduser"
        | "os.path.expandvars"
        | "os.fspath"
        | "os.fsdecode"
        | "os.fsencode"
        | "str"
        | "shlex.quote"
        | "repr"
        | "pathlib.Path.resolve" => Does::Same,
        "os.path.dirname" => Does::Parent,
        "os.path.basename" => Does::LastName,
        "os.getenv" | "os.environ.get" | "os.environ.setdefault" => Does::Variable,
        "os.getcwd" | "os.getcwdb" | "pathlib.Path.cwd" => Does::Here,
        "pathlib.Path.home" => Does::Home,
        "tempfile.mkdtemp"
        | "tempfile.mkstemp"
        | "tempfile.NamedTemporaryFile"
        | "tempfile.TemporaryFile"
        | "tempfile.TemporaryDirectory"
        | "tempfile.mktemp"
        | "tempfile.gettempdir"
        | "tempfile.SpooledTemporaryFile" => Does::Temporary,
        "os.kill" | "os.killpg" => Does::Kill,
        "os.fork" | "os.forkpty" | "pty.fork" => Does::Fork,
        "getattr"
        | "operator.attrgetter"
        | "operator.methodcaller"
        | "vars"
        | "globals"
        | "locals" => Does::Attribute,
        "base64.b64decode"
        | "base64.standard_b64decode"
        | "base64.urlsafe_b64decode"
        | "base64.decodebytes"
        | "bytes.fromhex"
        | "binascii.unhexlify"
        | "binascii.a2b_base64"
        | "bytearray.fromhex" => Does::Decode,
        "map" | "filter" | "functools.reduce" | "itertools.starmap" => Does::Apply,
        "functools.partial" => Does::Partial,
        "bytes" | "bytearray" | "chr" | "input" | "shlex.split" | "textwrap.dedent" => Does::Text,
        "len"
        | "int"
        | "float"
        | "bool"
        | "sum"
        | "abs"
        | "round"
        | "hash"
        | "id"
        | "ord"
        | "isinstance"
        | "print"
        | "hasattr"
        | "time.time"
        | "random.random"
        | "random.randint"
        | "uuid.uuid4"
        | "datetime.datetime.now"
        | "datetime.date.today"
        | "time.strftime"
        | "os.getpid"
        | "os.path.exists"
        | "os.path.isfile"
        | "os.path.isdir"
        | "os.path.getsize"
        | "range"
        | "any"
        | "all"
        | "callable"
        | "type"
        | "hex"
        | "bin" => Does::Plain,
        "list" | "tuple" | "set" | "frozenset" | "sorted" | "reversed" | "iter" | "next"
        | "max" | "min" | "itertools.chain" | "collections.deque" | "random.choice" | "zip"
        | "enumerate" | "tqdm" | "tqdm.tqdm" => Does::Elements,
        "fileinput.input" | "fileinput.FileInput" => Does::Edit,
        _ => return None,
    })
}

/// What a method of this name does with the object on which it is called, when that is a path.
pub(super) fn does_to_path(name: &str) -> Option<Does> {
    Some(match name {
        "unlink" | "rmdir" | "rmtree" => Does::Remove,
        "write_text" | "write_bytes" => Does::Write,
        "touch" | "mkdir" | "makedirs" | "symlink_to" | "hardlink_to" => Does::Create,
        "chmod" | "lchmod" => Does::Change,
        "rename" | "replace" | "move" => Does::Move,
        "open" => Does::Open,
        _ => return None,
    })
}

/// What a method does with its arguments, whatever object it belongs to: libraries that save.
pub(super) fn does_anywhere(name: &str) -> Option<Does> {
    Some(match name {
        "savefig" | "to_csv" | "to_excel" | "to_json" | "to_parquet" | "to_pickle" | "to_html"
        | "to_hdf" | "to_feather" | "to_markdown" | "to_latex" | "to_sql_file" | "save"
        | "savez" | "savetxt" | "imwrite" | "imsave" | "write_image" | "write_html"
        | "write_csv" | "write_parquet" | "extractall" | "save_pretrained" | "tofile" => {
            Does::Write
        }
        "urlretrieve" | "download_file" => Does::WriteSecond,
        "rmtree" => Does::Remove,
        "system" | "popen" => Does::Run,
        _ => return None,
    })
}
