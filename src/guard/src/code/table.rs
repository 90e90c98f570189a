//! What functions of other languages do, by their names.

use super::Language;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Its arguments are removed.
    Remove,
    /// Its first argument is written.
    Write,
    /// Its second argument is written.
    WriteSecond,
    /// Its first argument goes away, and the second is written.
    Move,
    /// Its first argument's mode or owner changes.
    Change,
    /// Its argument is a shell's, or a list of words.
    Run,
    /// Its argument is code of the same language.
    Evaluate,
    /// The second argument decides whether it writes.
    Open,
    /// Relative paths lead elsewhere from here on.
    ChangeDirectory,
    /// It ends processes.
    End,
    Fork,
}

/// What a name means, and whether it means that only where its argument says so.
pub(super) fn call(language: Language, name: &str) -> Option<(Call, bool)> {
    let last = name.rsplit(['.', ':']).next().unwrap_or(name);
    let owner = &name[..name.len() - last.len()];
    let owner = owner.trim_end_matches(['.', ':']);
    let of_system = matches!(
        owner,
        "os" | "shutil"
            | "subprocess"
            | "sp"
            | "fs"
            | "child_process"
            | "cp"
            | "File"
            | "FileUtils"
            | "Dir"
            | "Kernel"
            | "IO"
            | "fsp"
            | "fs.promises"
            | "pty"
            | "commands"
            | "os.path"
    );
    let sure = |call| Some((call, false));
    // Names that mean other things too count where they belong to the system's modules.
    let maybe = |call| Some((call, !of_system));
    if let Some(call) = of_language(language, owner, last) {
        return Some(call);
    }
    match last {
        "unlink" | "rmtree" | "remove_tree" | "rmdir" | "removedirs" | "rmSync" | "unlinkSync"
        | "rmdirSync" | "rm_rf" | "rm_r" | "rm_f" | "remove_entry" | "delete_tree"
        | "remove_dir" | "removeSync" | "emptyDirSync" => sure(Call::Remove),
        "remove" if matches!(name, "file.remove") => sure(Call::Remove),
        "rm" if language == Language::Julia => sure(Call::Remove),
        "remove" if owner == "Deno" => sure(Call::Remove),
        "writeTextFile" | "writeTextFileSync" | "outputFileSync" => sure(Call::Write),
        "remove" | "delete" | "rm" => maybe(Call::Remove),
        "rename" | "renames" | "move" | "renameSync" | "mv" => maybe(Call::Move),
        // Texts have a method of this name too.
        "replace" if of_system => sure(Call::Move),
        "system"
        | "popen"
        | "getoutput"
        | "getstatusoutput"
        | "check_call"
        | "check_output"
        | "Popen"
        | "execSync"
        | "execFileSync"
        | "spawnSync"
        | "execFile"
        | "shell_exec"
        | "passthru"
        | "proc_open"
        | "execv"
        | "execve"
        | "execvp"
        | "execl"
        | "execlp"
        | "spawnl"
        | "create_subprocess_shell"
        | "create_subprocess_exec"
        | "qx" => sure(Call::Run),
        "run" | "call" | "spawn" => maybe(Call::Run),
        "exec" => match language {
            Language::Python => Some((Call::Evaluate, !owner.is_empty())),
            Language::Node => maybe(Call::Run),
            Language::Perl
            | Language::Ruby
            | Language::Php
            | Language::Lua
            | Language::Awk
            | Language::R
            | Language::Julia => sure(Call::Run),
        },
        "eval" if language != Language::Awk => Some((Call::Evaluate, !owner.is_empty())),
        "execute" if owner == "os" && language == Language::Lua => sure(Call::Run),
        "writeFileSync" | "writeFile" | "appendFileSync" | "appendFile" | "file_put_contents"
        | "truncateSync" | "mkdirSync" | "createWriteStream" | "write_text" | "write_bytes" => {
            sure(Call::Write)
        }
        "makedirs" | "mkdir_p" | "mkdir" | "touch" | "truncate" | "mknod" | "mkfifo" => {
            maybe(Call::Write)
        }
        "write" if owner == "File" || owner == "IO" => sure(Call::Write),
        "copyfile" | "copy2" | "copytree" | "copyFileSync" | "cpSync" => sure(Call::WriteSecond),
        "copy" | "symlink" | "link" | "cp_r" | "ln_s" => maybe(Call::WriteSecond),
        "chmod" | "chown" | "chmodSync" | "chownSync" | "chmod_R" | "lchown" => maybe(Call::Change),
        "open" if owner.is_empty() || matches!(owner, "io" | "codecs" | "File" | "os" | "fs") => {
            sure(Call::Open)
        }
        "fopen" | "openSync" => sure(Call::Open),
        "chdir" => sure(Call::ChangeDirectory),
        "kill" if matches!(owner, "" | "process" | "Process") && language != Language::Awk => {
            sure(Call::End)
        }
        "fork" if matches!(owner, "" | "Process" | "os") => sure(Call::Fork),
        _ => None,
    }
}

/// Names that mean something in one language alone.
fn of_language(language: Language, owner: &str, last: &str) -> Option<(Call, bool)> {
    let (call, is_unsure) = match (language, owner, last) {
        (Language::Node, "", "rimraf" | "rimrafSync" | "deleteSync" | "deleteAsync") => {
            (Call::Remove, false)
        }
        (Language::R, "", "system2" | "shell") => (Call::Run, false),
        (Language::R, "", "sink" | "pdf" | "png" | "svg" | "jpeg" | "tiff" | "ggsave") => {
            (Call::Write, true)
        }
        (Language::R, "file", "create") | (Language::Perl, "", "truncate") => (Call::Write, false),
        (
            Language::R,
            "",
            "saveRDS" | "writeLines" | "write_csv" | "write_tsv" | "fwrite" | "dput",
        )
        | (Language::R, "write", "csv" | "table" | "csv2") => (Call::WriteSecond, false),
        // These are no methods there.
        (Language::Perl, "", "chmod" | "chown" | "utime") => (Call::Change, false),
        _ => return None,
    };
    Some((call, is_unsure))
}
