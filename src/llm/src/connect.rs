//! From a model's name to a model.

use std::path::Path;
use std::sync::Arc;

use crate::{LlmError, Model, ModelRef, ScriptedModel, Settings, http};

/// The provider of models that answer from a file.
const SCRIPTED: &str = "scripted";

/// Makes ready to ask a model. Nothing is sent yet; a script is read whole.
///
/// # Errors
/// [`LlmError::NotConfigured`] for an unknown provider, a missing key, a wrong base URL or script.
pub fn connect(model: &ModelRef, settings: &Settings) -> Result<Arc<dyn Model>, LlmError> {
    if model.provider == SCRIPTED {
        return Ok(Arc::new(ScriptedModel::open(Path::new(&model.id))?));
    }
    let Some(provider) = settings.providers.get(&model.provider) else {
        let known: Vec<&str> = settings
            .providers
            .keys()
            .map(String::as_str)
            .chain([SCRIPTED])
            .collect();
        return Err(LlmError::NotConfigured {
            model: model.to_string(),
            why: format!("there is no provider `{}`", model.provider),
            hint: Some(format!(
                "use one of {}, or add `[providers.{}]` to the configuration",
                known.join(", "),
                model.provider
            )),
        });
    };
    http::connect(model, provider, settings)
}
