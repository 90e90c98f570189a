//! Self-Evolve: a draft, or a saved subagent, is changed after what its runs showed.

use spec::SubagentName;

use super::arguments::{ModifySubagent, name, path};
use super::drafts::{Draft, granted};
use super::install::notes;
use super::skills::{Answer, Refusal};
use super::{Session, composition};

impl Session<'_> {
    pub(super) async fn modify(&mut self, given: ModifySubagent) -> Result<Answer, Refusal> {
        let name = name(&given.name)?;
        let mut draft = self.begin_draft(&name)?;
        let before = draft.clone();
        let path = given
            .path
            .as_deref()
            .map_or_else(|| Ok(draft.entry.clone()), path)?;
        match (given.old, given.new, given.code) {
            (Some(old), Some(new), None) => {
                let Some(bytes) = draft.files.get(&path) else {
                    return Err(format!("`{name}` has no file `{path}`").into());
                };
                let text = String::from_utf8_lossy(bytes).into_owned();
                match text.matches(&old).count() {
                    _ if old.is_empty() => return Err("`old` is empty".to_owned().into()),
                    1 => draft.write(path.clone(), text.replacen(&old, &new, 1).into_bytes())?,
                    0 => {
                        return Err(format!(
                            "`old` does not occur in `{path}`; view_subagent_code shows it"
                        )
                        .into());
                    }
                    count => {
                        return Err(format!(
                            "`old` occurs {count} times in `{path}`; give more of its context"
                        )
                        .into());
                    }
                }
            }
            (None, None, Some(code)) => draft.write(path.clone(), code.into_bytes())?,
            (None, None, None)
                if given.skills.is_some()
                    || given.depends.is_some()
                    || given.requirements.is_some()
                    || given.egress.is_some()
                    || given.limits.is_some()
                    || given.description.is_some() => {}
            _ => return Err("give `old` and `new`, or `code`".to_owned().into()),
        }
        if let Some(skills) = &given.skills {
            draft.skills = self.grants(skills)?;
            if draft.skills != before.skills {
                draft.unprove();
            }
        }
        if let Some(depends) = &given.depends {
            draft.depends = self.depends(depends)?;
            if draft.depends != before.depends {
                draft.unprove();
            }
        }
        if let Some(wanted) = &given.requirements {
            let prepared = self.requirements(wanted, &draft.depends);
            draft.require(prepared.await?);
        } else if draft.depends != before.depends {
            self.merge_requirements(&mut draft).await?;
        }
        if draft.requirements != before.requirements {
            draft.unprove();
        }
        if let Some(egress) = &given.egress {
            draft.egress = self.hosts(egress)?;
            if draft.egress != before.egress {
                draft.unprove();
            }
        }
        if let Some(limits) = &given.limits {
            draft.limits = self.asked(limits)?;
            if draft.limits != before.limits {
                draft.unprove();
            }
        }
        if let Some(description) = given.description {
            draft.description = description;
        }
        if draft == before {
            return Err("nothing is different from before".to_owned().into());
        }
        self.check_composition(&draft)?;
        let mut content = format!(
            "modified `{name}` ({path}, {})",
            granted(&draft.skills, &draft.egress)
        );
        content.push_str(&composition::said(&draft));
        content.push_str(if draft.is_proven {
            ""
        } else {
            "; run it with run_subagent"
        });
        content.push_str(&notes(&draft));
        self.drafts.insert(name.clone(), draft);
        self.expect_draft(&name);
        Ok(Answer {
            content,
            subject: name.to_string(),
            ..Answer::default()
        })
    }

    /// The draft of this name, or the text that there is none and what there is.
    fn begin_draft(&self, name: &SubagentName) -> Result<Draft, Refusal> {
        if let Some(draft) = self.drafts.get(name) {
            return Ok(draft.clone());
        }
        match self.factory.head(name)? {
            Some(digest) => {
                let (store, trust) = (&self.factory.store, &self.factory.trust);
                let trusted = trust.check(store, &digest, Some(name), None);
                trusted.map_err(composition::untrusted)?;
                let version = store.version(&digest)?;
                Ok(Draft::from_version(name.clone(), version))
            }
            None => Err(self.unknown(name.as_str())?.into()),
        }
    }
}
