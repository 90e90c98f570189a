//! The Meta-Agent: Install, Self-Evolve and Deploy. The only place that decides.
//!
//! [`Factory`] is the facade: [`Factory::run`] runs one program in a sandbox and records it,
//! [`Factory::solve`] lets a model solve a task with subagents, [`deploy_skill`] exports a version.

mod assets;
mod blobs;
mod broker;
mod budget;
mod compose;
mod context;
mod deploy;
mod egress;
mod environments;
mod error;
mod factory;
mod front_matter;
mod library;
mod output_log;
mod python;
mod rebuild;
mod reproduce;
mod run;
mod script;
pub mod share;
mod shell;
mod task;
pub mod trust;
mod watch;
pub mod wire;
mod workspace;
mod write_back;

pub use self::egress::{Authorities, Egress, EgressSettings};
pub use assets::{AssetError, Assets};
pub use budget::TaskBudget;
pub use compose::CompositionError;
pub use context::{Context, SystemContext, TaskId};
pub use deploy::{
    Deployed, DeployedImage, ImageRequest, VERIFY_RUNS, Verdict, Verification, VerifiedRun,
    deploy_image, deploy_skill, push_image, verify_image,
};
pub use environments::{
    EnvironmentError, EnvironmentSettings, EnvironmentState, IndexAccess, IndexError, PackageIndex,
    Prepared, Unmet,
};
pub use error::{FactoryError, chain};
pub use factory::Factory;
pub use front_matter::FrontMatterError;
pub use library::{
    Case, CopyReport, CopyRequest, Exported, ImportItem, ImportOutcome, ImportRequest,
    LibraryError, Locks, Unlocked, copy_version, export_version, import_skills, unlocked,
};
pub use output_log::{LogHeader, LogPart, OutputLogs, OutputReader};
pub use rebuild::{Rebuilt, rebuild_environment, rebuild_image, rebuild_version};
pub use reproduce::{Check, Reproduction, Unrecorded};
pub use run::{FinishedRun, Requirements, RunRequest, program_from_file, program_of_version};
pub use script::script_requirements;
pub use shell::{Approver, ShellMode, ShellPolicy};
pub use task::{Saved, TaskReport, TaskRequest, TaskStatus};
pub use watch::{Event, Unwatched, Watcher};
pub use workspace::{Imported, WorkspaceError, changed_files, export, import};
pub use write_back::{WriteBack, write_back};
