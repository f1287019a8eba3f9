#include "common/rpc/channel.h"

#include <grpc/compression.h>
#include <grpc/support/log.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>
#include <malloc.h>

#include "common/base/log.h"
#include "common/rpc/blob_stream.h"

namespace tributary::rpc {
namespace {

constexpr int kKeepaliveMs = 30'000;
constexpr int kNoCompression = 1 << GRPC_COMPRESS_NONE;
constexpr int kKeepaliveTimeoutMs = 20'000;
// How much a peer may send ahead of what is read, for each stream. Fixed,
// so that memory is bounded; the automatic window grows with the line.
constexpr int kWindowBytes = 2 << 20;
constexpr int kMaxMetadataBytes = 16 << 10;
// A peer that does not finish its handshake.
constexpr int kHandshakeMs = 20'000;
// A connection without calls, and the age at which one makes way for another
// with present certificates; calls on it go on to their end.
constexpr int kIdleConnectionMs = 5 * 60'000;
constexpr int kConnectionAgeMs = 60 * 60'000;
constexpr int kMaxStreamsPerConnection = 128;

// Memory of this size comes from the heap and that much of it stays with the
// process when it is free. By default every message of an upload would go back
// to the system and be faulted in again page by page for the next one: a tenth
// of the processor time of an upload.
constexpr int kHeapBlockBytes = 8 << 20;
constexpr int kKeptHeapBytes = 8 << 20;

// What a process needs once. gRPC's own lines (failed handshakes and the like)
// go into our log: errors reach callers as statuses anyway.
void PrepareProcess() {
  static const bool prepared = [] {
    gpr_set_log_function(
        [](gpr_log_func_args* line) { log::Debug("grpc: {}", line->message); });
    mallopt(M_MMAP_THRESHOLD, kHeapBlockBytes);
    mallopt(M_TRIM_THRESHOLD, kKeptHeapBytes);
    return true;
  }();
  static_cast<void>(prepared);
}

}  // namespace

std::shared_ptr<grpc::Channel> CreateChannel(const std::string& address,
                                             const TlsIdentity& identity) {
  PrepareProcess();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindowBytes);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  // Also the time that a connection with its handshake may take.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  // A home's credentials must never leak into another channel of the process.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Outbound connections go where the operator said, not through a proxy that
  // would end TLS.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, ClientCredentials(identity),
                                   arguments);
}

void ConfigureServer(grpc::ServerBuilder& builder) {
  PrepareProcess();
  // A small compressed message can unpack to gigabytes before its size is
  // looked at. Weights do not compress anyway.
  builder.AddChannelArgument(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
                             kNoCompression);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 2 * kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             kKeepaliveTimeoutMs);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveMs / 2);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
                             kWindowBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             kHandshakeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                             kIdleConnectionMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kConnectionAgeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             kMaxStreamsPerConnection);
  // A second server on the same port is an error, not a silent half.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace tributary::rpc
