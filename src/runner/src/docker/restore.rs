//! What goes into a sandbox before its program begins: files, then RUN.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use spec::{Determinism, Limits, Tree, limits};

use super::collect::LEFT_NAMED;
use super::streams;
use crate::frames::{PAYLOAD_MAX, TOKEN_BYTES, control, put, put_message, to_sandbox};
use crate::{Blobs, Program, Proxy, RunnerError, SandboxSpec};

/// Requests of the child that may be open at once; more wait inside the sandbox.
pub(super) const REQUESTS_OPEN: usize = 16;
/// Bytes that are gathered before they are written: a thousand small files are few writes.
const BATCH: usize = 256 << 10;
/// What a small file takes on tmpfs. Source: the page size of `x86_64` and, mostly, of `aarch64`.
const PAGE: u64 = 4_096;

/// Refuses what could not be restored, before a sandbox is made for it.
pub(super) fn check_sizes(spec: &SandboxSpec) -> Result<(), RunnerError> {
    let check = |what, size: u64, limit: u64| {
        if size > limit {
            return Err(RunnerError::TooLarge { what, size, limit });
        }
        Ok(())
    };
    let pages = |size: u64| size.div_ceil(PAGE).saturating_mul(PAGE);
    match &spec.program {
        Program::Subagent { files, query, .. } => {
            check("query", query.len() as u64, limits::QUERY.get())?;
            check(
                "number of source files",
                files.len() as u64,
                limits::SOURCE_FILES as u64,
            )?;
            let size = files.iter().map(|file| file.content.len() as u64).sum();
            check("source", size, limits::SOURCE.get())?;
            let held = files.iter().map(|file| pages(file.content.len() as u64));
            check("source", held.sum(), spec.limits.code().get())?;
        }
        Program::Shell { command } => {
            check("command", command.len() as u64, limits::QUERY.get())?;
            let held = pages(command.len() as u64);
            check("command", held, spec.limits.code().get())?;
        }
    }
    let entries = spec.tree.entries();
    let names = entries
        .iter()
        .map(|entry| entry.path.as_bytes().len() as u64);
    check("length of all paths", names.sum(), limits::NAMES.get())?;
    let folders: HashSet<&[u8]> = entries
        .iter()
        .flat_map(|entry| folders_of(entry.path.as_bytes()))
        .collect();
    // The workspace is a folder itself.
    let inodes = (entries.len() + folders.len() + 1) as u64;
    check(
        "number of files and folders in the workspace",
        inodes,
        spec.limits.workspace_files,
    )?;
    let held = entries
        .iter()
        .fold(0_u64, |held, entry| held.saturating_add(pages(entry.size)));
    check("workspace", held, spec.limits.workspace.get())
}

/// The folders above a path, inside its root.
fn folders_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

/// Whether what the sandbox is told is little and needs no file of the host.
pub(super) fn is_small(spec: &SandboxSpec) -> bool {
    let size: usize = match &spec.program {
        Program::Subagent { files, query, .. } => {
            let files = files.iter().map(|file| file.content.len());
            files.sum::<usize>() + query.len()
        }
        Program::Shell { command } => command.len(),
    };
    size <= BATCH && spec.tree.entries().is_empty()
}

/// What RUN says.
pub(super) struct Beginning<'a> {
    pub(super) program: &'a Program,
    pub(super) limits: &'a Limits,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) determinism: Determinism,
    pub(super) token: [u8; TOKEN_BYTES],
}

/// Encodes everything that the sandbox is told before it begins. Blocks on the blobs, unless
/// [`is_small`], and on `out`; ends early when that fails.
pub(super) fn send_all(
    run: &Beginning<'_>,
    tree: &Tree,
    blobs: &Arc<dyn Blobs>,
    out: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> io::Result<()> {
    let mut batch = Batch {
        buffer: BytesMut::new(),
        out,
    };
    if let Program::Subagent { files, .. } = run.program {
        for file in files {
            let header = FileHeader::new("code", file.path.as_bytes(), file.content.len(), false);
            put_message(&mut batch.buffer, to_sandbox::FILE, &header, &file.content);
            batch.send_if(BATCH)?;
        }
    }
    for entry in tree.entries() {
        let size = usize::try_from(entry.size).map_err(|_| wrong_size(&entry.path))?;
        let header = FileHeader::new("workspace", entry.path.as_bytes(), size, entry.executable);
        let head = control(&header);
        let mut content = blobs.open(&entry.digest)?;
        let mut first = vec![0; size.min(PAYLOAD_MAX - head.len())];
        let mut left = size - first.len();
        read_exact(&mut content, &mut first, &entry.path)?;
        put(&mut batch.buffer, to_sandbox::FILE, &[&head, &first]);
        batch.send_if(BATCH)?;
        while left > 0 {
            first.resize(left.min(BATCH), 0);
            left -= first.len();
            read_exact(&mut content, &mut first, &entry.path)?;
            put(&mut batch.buffer, to_sandbox::DATA, &[&first]);
            batch.send_if(BATCH)?;
        }
        if content.read(&mut [0])? != 0 {
            return Err(wrong_size(&entry.path));
        }
    }
    if let Some(Proxy { certificates_pem }) = run.proxy {
        let pem = certificates_pem.as_bytes();
        let header = FileHeader::new("proxy", b"ca.pem", pem.len(), false);
        put_message(&mut batch.buffer, to_sandbox::FILE, &header, pem);
    }
    put_run(&mut batch.buffer, run);
    batch.send_if(0)
}

/// Bytes on their way to the writer.
struct Batch<'a> {
    buffer: BytesMut,
    out: &'a mut dyn FnMut(Bytes) -> io::Result<()>,
}

impl Batch<'_> {
    fn send_if(&mut self, at_least: usize) -> io::Result<()> {
        if self.buffer.len() < at_least {
            return Ok(());
        }
        let bytes = self.buffer.split().freeze();
        (self.out)(bytes)
    }
}

fn read_exact(
    content: &mut Box<dyn io::Read + Send>,
    buffer: &mut [u8],
    path: &spec::WorkspacePath,
) -> io::Result<()> {
    content
        .read_exact(buffer)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => wrong_size(path),
            _ => error,
        })
}

fn wrong_size(path: &spec::WorkspacePath) -> io::Error {
    let text = format!("the content of `{path}` has another size than its tree says");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[derive(Serialize)]
struct FileHeader {
    root: &'static str,
    path: String,
    size: usize,
    executable: bool,
}

impl FileHeader {
    fn new(root: &'static str, path: &[u8], size: usize, executable: bool) -> Self {
        Self {
            root,
            path: hex(path),
            size,
            executable,
        }
    }
}

/// What the harness enforces. What it enforces is checked again on our side.
#[derive(Serialize)]
struct HarnessLimits {
    output: u64,
    workspace: u64,
    cpu_ns: u64,
    files: u32,
    collect_depth: u32,
    depth: usize,
    path: usize,
    left: usize,
    names: u64,
    message: u64,
    requests: usize,
    // These two only where the runtime enforces none.
    memory: u64,
    pids: u32,
}

/// What the child needs to know for the subagent's own good.
#[derive(Serialize)]
struct ChildLimits {
    result: u64,
    traceback: u64,
    message: u64,
    shell_chars: usize,
}

/// What the harness keeps to when it carries connections.
#[derive(Serialize)]
struct ProxyRules {
    streams: usize,
    connections: u32,
    window: u32,
}

fn put_run(out: &mut BytesMut, run: &Beginning<'_>) {
    #[derive(Serialize)]
    struct Header {
        token: String,
        limits: HarnessLimits,
        proxy: Option<ProxyRules>,
        size: usize,
    }
    #[derive(Serialize)]
    struct Subagent<'a> {
        entry: String,
        query: &'a str,
        limits: ChildLimits,
        proxy: bool,
        /// In milliseconds since 1970 began.
        #[serde(skip_serializing_if = "Option::is_none")]
        clock: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        seed: Option<u32>,
    }
    #[derive(Serialize)]
    struct Shell<'a> {
        command: &'a str,
        proxy: bool,
    }
    let Beginning { limits, .. } = *run;
    let proxy = run.proxy.is_some();
    let body = match run.program {
        Program::Subagent { entry, query, .. } => serde_json::to_vec(&Subagent {
            entry: hex(entry.as_bytes()),
            query,
            limits: ChildLimits {
                result: limits.result.get(),
                traceback: limits::TRACEBACK.get(),
                message: limits::TOOL_CALL.get(),
                shell_chars: limits::SHELL_OUTPUT_CHARS,
            },
            proxy,
            clock: run.determinism.clock_ms,
            seed: run.determinism.seed,
        }),
        Program::Shell { command } => serde_json::to_vec(&Shell { command, proxy }),
    };
    let body = body.expect("strings and numbers are JSON");
    let header = Header {
        token: hex(&run.token),
        limits: HarnessLimits {
            output: limits.output.get(),
            workspace: limits.workspace.get(),
            cpu_ns: u64::try_from(limits.cpu_bound().as_nanos()).unwrap_or(u64::MAX),
            files: limits.collect_files,
            collect_depth: limits.collect_depth,
            depth: limits::PATH_DEPTH,
            path: limits::PATH_BYTES,
            left: LEFT_NAMED,
            names: limits::NAMES.get(),
            message: limits::TOOL_CALL.get(),
            requests: REQUESTS_OPEN,
            memory: limits.memory.get(),
            pids: limits.pids,
        },
        proxy: proxy.then_some(ProxyRules {
            streams: streams::OPEN,
            connections: streams::IN_ALL,
            window: streams::WINDOW,
        }),
        size: body.len(),
    };
    put_message(out, to_sandbox::RUN, &header, &body);
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
