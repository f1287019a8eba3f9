#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/rpc/credentials.h"

namespace tributary::rpc {

// A channel to host:port over mutual TLS, with keepalive and the federation's
// message limits. It connects on its first call; reconnects by itself within
// 5 s. Make a new one after a certificate was renewed.
std::shared_ptr<grpc::Channel> CreateChannel(const std::string& address,
                                             const TlsIdentity& identity);

// Message limits and keepalive rules that fit CreateChannel.
void ConfigureServer(grpc::ServerBuilder& builder);

}  // namespace tributary::rpc
