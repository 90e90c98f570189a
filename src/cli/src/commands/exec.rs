//! `exec`: any Python file with `main(query)`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use orchestrator::{Requirements, RunRequest, program_from_file, script_requirements};
use runner::Program;
use spec::{Digest, SubagentName, VersionRef};
use store::Store;

use super::program::{Run, granted};
use crate::app::{App, Models};
use crate::args::{
    DeterminismFlags, EgressFlags, FolderFlags, Grants, LimitFlags, ModelFlags, SandboxFlags,
    text_or_stdin,
};
use crate::exit::{ExitCode, Problem};
use crate::folders::Folders;
use crate::ui::LiveKind;

/// Run a Python file that has `main(query)` in a sandbox
///
/// Files beside it that it imports come along. `main` returns a dict with `answer` and `summary`;
/// the answer is printed on standard output, all else goes to standard error.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The Python file
    #[arg(value_name = "FILE.py")]
    file: PathBuf,
    /// What `main` is called with; `-` reads it from standard input
    #[arg(default_value = "")]
    query: String,
    /// Skills that it may use: `llm`, `shell_command`, `all` or `none` [default: none]
    #[arg(long, value_name = "SKILL,...")]
    grant: Option<Grants>,
    /// Saved versions that it imports by their module names: NAME, NAME:TAG or NAME@DIGEST
    ///
    /// They run with the skills and hosts that are granted here.
    #[arg(long, value_name = "REF,...", value_delimiter = ',')]
    depends: Vec<String>,
    /// A Python distribution that it imports, such as `pandas` or `numpy>=2`; may be given several times
    ///
    /// It is fetched from the package index as wheels, in a sandbox, and installed once. The file's own
    /// `# /// script` block (PEP 723) is read too.
    #[arg(long, value_name = "REQUIREMENT")]
    requirement: Vec<String>,
    #[command(flatten)]
    folders: FolderFlags,
    #[command(flatten)]
    network: EgressFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    determinism: DeterminismFlags,
    #[command(flatten)]
    sandbox: SandboxFlags,
    #[command(flatten)]
    models: ModelFlags,
}

/// What to do when the file that `exec` names cannot be used.
const OF_THE_LIBRARY: &str = "`exec` takes the path of a Python file; a subagent of the library \
                              runs with `agentfactory run NAME`";

/// Runs a file.
pub(crate) async fn exec(app: &App, args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let shown = args.file.display();
    match std::fs::metadata(&args.file) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(Problem::usage(format!("`{shown}` is not a file")).into()),
        Err(error) => {
            let problem = Problem::of_path(format!("`{shown}` cannot be used"), error);
            return Err(problem.hint(OF_THE_LIBRARY).into());
        }
    }
    let folders = Folders::resolve(&args.folders)?;
    let query = text_or_stdin("query", &args.query)?;
    let program = program_from_file(&args.file, &query)?;
    let egress = granted(app, &args.network)?;
    let determinism = args.determinism.fixed();
    let limits = app.limits(&args.limits).resolve(None)?;
    let grants = args.grant.clone().unwrap_or_default().0;
    let store = app.store()?;
    let depends = depends(&store, &args.depends)?;
    let mut wanted = args.requirement.clone();
    wanted.extend(named(&program).map_err(|why| {
        Problem::refused(format!("`{shown}` cannot be run: {why}"))
            .hint("the block `# /// script` is described in PEP 723")
    })?);
    let requirements = Requirements::Wanted(wanted);
    let run = Run {
        app,
        store,
        requirements: requirements.clone(),
        program: program.clone(),
        determinism,
        folders,
        limits: limits.clone(),
        models: Models::of_subagents(app, &args.models, &grants)?,
        sandbox: args.sandbox,
        kind: LiveKind::Subagent,
    };
    let shown = shown.to_string();
    run.carry_out(|factory, tree| {
        factory.check_depends(&depends)?;
        Ok(RunRequest {
            program,
            name: None,
            version: None,
            shown,
            depends,
            grants,
            egress,
            requirements,
            tree,
            mounts: Vec::new(),
            limits,
            determinism,
        })
    })
    .await
}

/// The versions that `--depends` names.
fn depends(store: &Store, texts: &[String]) -> anyhow::Result<BTreeMap<SubagentName, Digest>> {
    let mut depends = BTreeMap::new();
    for text in texts {
        let resolved = store.resolve(&text.parse::<VersionRef>()?)?;
        let Some(name) = resolved.name else {
            return Err(Problem::refused(format!("`{text}` has no name to be imported by")).into());
        };
        if depends.insert(name.clone(), resolved.digest).is_some() {
            return Err(Problem::usage(format!("--depends names `{name}` twice")).into());
        }
    }
    Ok(depends)
}

/// The requirements that the entry file names itself.
fn named(program: &Program) -> Result<Vec<String>, String> {
    let Program::Subagent { files, entry, .. } = program else {
        return Ok(Vec::new());
    };
    let entry = files.iter().find(|file| file.path == *entry);
    let source = entry.map(|file| String::from_utf8_lossy(&file.content));
    source.map_or(Ok(Vec::new()), |source| script_requirements(&source))
}
