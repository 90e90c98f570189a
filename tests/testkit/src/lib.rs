//! Fixtures that tests share.

mod authority;
mod env;
mod model_endpoint;
mod package_index;
mod registry;
mod relay;
mod site;
mod tunnel;
mod wheel_index;
mod writer;

pub use authority::Authority;
pub use env::{Finished, TestEnv, containers, full_counts, program, repository};
pub use model_endpoint::{
    EndpointOptions, EndpointProtocol, EndpointReply, ModelEndpoint, Received, Said,
};
pub use package_index::package_index;
pub use registry::{HTPASSWD, RegistryServer, ScriptedServer, ServerReply, ServerRequest, Then};
pub use relay::Relay;
pub use site::Site;
pub use tunnel::Tunnel;
pub use wheel_index::{TestWheel, WheelIndex};
pub use writer::{Writer, given, pass_a_moment, random, say};
