#include "tests/benchmarks/upload/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/random.h"
#include "common/crypto/certificate_authority.h"
#include "common/crypto/resumable_sha256.h"

namespace tributary::benchmarks {
namespace {

constexpr size_t kPiece = 1 << 20;

double Now() { return SystemClock().MonotonicSeconds(); }

struct Sockets {
  FileDescriptor client;
  FileDescriptor server;
};

StatusOr<Sockets> Connect() {
  const FileDescriptor listener(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener.get(), raw, size) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), raw, &size) != 0) {
    return Unavailable("cannot listen on loopback");
  }
  Sockets sockets{.client = FileDescriptor(socket(AF_INET, SOCK_STREAM, 0))};
  if (connect(sockets.client.get(), raw, size) != 0) {
    return Unavailable("cannot connect on loopback");
  }
  sockets.server = FileDescriptor(accept(listener.get(), nullptr, nullptr));
  return sockets;
}

class TcpLink final : public Link {
 public:
  explicit TcpLink(Sockets sockets) : sockets_(std::move(sockets)) {}
  ssize_t Send(const char* data, size_t size) override {
    return write(sockets_.client.get(), data, size);
  }
  ssize_t Receive(char* data, size_t size) override {
    return read(sockets_.server.get(), data, size);
  }

 private:
  const Sockets sockets_;
};

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using Session = std::unique_ptr<SSL, decltype(&SSL_free)>;

StatusOr<Context> ServerContext() {
  ASSIGN_OR_RETURN(const auto ca,
                   crypto::CertificateAuthority::CreateSelfSigned(
                       "bench", crypto::kDaySeconds, SystemClock()));
  Context context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  if (SSL_CTX_use_certificate(context.get(), ca.certificate().handle()) != 1 ||
      SSL_CTX_use_PrivateKey(context.get(), ca.key().handle()) != 1) {
    return Internal("the benchmark's certificate does not load");
  }
  return context;
}

class TlsLink final : public Link {
 public:
  TlsLink(Sockets sockets, const Context& server_context)
      : sockets_(std::move(sockets)),
        client_context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free),
        server_(SSL_new(server_context.get()), SSL_free),
        client_(SSL_new(client_context_.get()), SSL_free) {
    SSL_set_fd(server_.get(), sockets_.server.get());
    SSL_set_fd(client_.get(), sockets_.client.get());
  }
  bool Shake() {
    std::thread accept([&] { SSL_accept(server_.get()); });
    const bool connected = SSL_connect(client_.get()) == 1;
    accept.join();
    return connected;
  }
  ssize_t Send(const char* data, size_t size) override {
    return SSL_write(client_.get(), data, static_cast<int>(size));
  }
  ssize_t Receive(char* data, size_t size) override {
    return SSL_read(server_.get(), data, static_cast<int>(size));
  }

 private:
  const Sockets sockets_;
  const Context client_context_;
  const Session server_;
  const Session client_;
};

}  // namespace

StatusOr<std::unique_ptr<Link>> Link::Create(Kind kind) {
  ASSIGN_OR_RETURN(Sockets sockets, Connect());
  if (kind == Kind::kTcp) {
    return std::make_unique<TcpLink>(std::move(sockets));
  }
  ASSIGN_OR_RETURN(const Context context, ServerContext());
  auto link = std::make_unique<TlsLink>(std::move(sockets), context);
  if (!link->Shake()) {
    return Internal("the TLS handshake on loopback failed");
  }
  return link;
}

StatusOr<double> RawSeconds(Link::Kind kind, uint64_t bytes) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Link> link, Link::Create(kind));
  const std::string source = RandomBytes(kPiece);
  const double start = Now();
  std::thread sender([&] {
    for (uint64_t left = bytes; left > 0;) {
      const ssize_t sent =
          link->Send(source.data(), std::min<uint64_t>(left, kPiece));
      if (sent <= 0) {
        return;
      }
      left -= static_cast<uint64_t>(sent);
    }
  });
  std::vector<char> buffer(kPiece);
  uint64_t got = 0;
  while (got < bytes) {
    const ssize_t size = link->Receive(buffer.data(), buffer.size());
    if (size <= 0) {
      break;
    }
    got += static_cast<uint64_t>(size);
  }
  const double seconds = Now() - start;
  sender.join();
  return got == bytes ? StatusOr<double>(seconds)
                      : Internal("a loopback transfer broke off");
}

double HashSeconds(int threads, uint64_t bytes) {
  const std::string source = RandomBytes(kPiece);
  const auto work = [&] {
    crypto::ResumableSha256 hash;
    for (uint64_t done = 0; done < bytes; done += kPiece) {
      hash.Update(source);
    }
  };
  const double start = Now();
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) {
    all.emplace_back(work);
  }
  for (std::thread& thread : all) {
    thread.join();
  }
  return Now() - start;
}

}  // namespace tributary::benchmarks
