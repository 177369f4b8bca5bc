//! A real API server of Kubernetes 1.37, and this machine as a node of it.
//!
//! ```no_run
//! # use testkit::{or_skip, kubernetes::ControlPlane};
//! let Some(cluster) = or_skip(ControlPlane::start()) else { return };
//! cluster.namespace("inference", &[("pod-security.kubernetes.io/enforce", "restricted")]);
//! cluster.admin().apply("…").expect_code(0);
//! cluster.dev().apply("…").expect_code(1);
//! ```
//!
//! | part | what is real, and what is not |
//! |---|---|
//! | [`ControlPlane`] | etcd and kube-apiserver with every admission plugin that is on by default, RBAC and the node's own authorizer |
//! | [`Node`] | containerd and the kubelet on this machine; pods run, without a network |
//! | [`Client`] | kubectl as one user: the admin, a plain user, or anybody the admin acts as |
//! | [`Schemas`] | kubeconform, with schemas of this very API server |
//!
//! There are no controllers and there is no scheduler: what they would make (the service account `default` of a
//! namespace, a volume for a claim, pods for a Deployment, a node for a pod) is made by hand or by
//! [`ControlPlane::namespace`]. Everything is on 127.0.0.1 on free ports, writes into a folder of its own, and does not
//! outlive the process that started it. The programs are built by [`build`], once.

mod build;
#[cfg(feature = "kubernetes")]
mod client;
#[cfg(feature = "kubernetes")]
mod control_plane;
#[cfg(feature = "kubernetes")]
mod definitions;
#[cfg(feature = "kubernetes")]
mod node;
#[cfg(feature = "kubernetes")]
mod program;
#[cfg(feature = "kubernetes")]
mod schemas;

pub use build::build;
#[cfg(feature = "kubernetes")]
pub use client::Client;
#[cfg(feature = "kubernetes")]
pub use control_plane::ControlPlane;
#[cfg(feature = "kubernetes")]
pub use node::Node;
#[cfg(feature = "kubernetes")]
pub use program::static_program;
#[cfg(feature = "kubernetes")]
pub use schemas::Schemas;
