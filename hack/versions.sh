# shellcheck shell=bash
# Versions of what the set-up builds or installs. One place, so that a bump is
# one line and changes every input hash that depends on it.
# shellcheck disable=SC2034  # read by the scripts that source this file

# The kubelet of 1.36 needs containerd 2, which Debian 12 does not have.
KUBERNETES_VERSION=1.34.4
# What kubeadm of that version asks for (`kubeadm config images list`).
ETCD_IMAGE_TAG=3.6.5-0
COREDNS_IMAGE_TAG=v1.12.1
PAUSE_IMAGE_TAG=3.10.1

KIND_VERSION=v0.33.0
HELM_VERSION=v3.22.0
# Argo CD, whose command line runs the health scripts of the chart, and the commit of its gitops-engine.
ARGOCD_VERSION=v3.4.2
GITOPS_ENGINE_VERSION=v0.0.0-20260512203152-0dc6b1b57dd5
# KubeRay's operator, against which RayJobs are tested.
KUBERAY_MODULE=github.com/ray-project/kuberay/ray-operator
KUBERAY_VERSION=v1.5.0
# kind, CoreDNS, Kubernetes and Argo CD need at least this Go (its module on
# golang.org/toolchain is used where PATH has an older one).
GO_MINIMUM=1.26.0
TOOLCHAIN_VERSION=1.26.2

DEBIAN_SUITE=bookworm
PYTHON_IMAGE=python:3.11-slim-bookworm
