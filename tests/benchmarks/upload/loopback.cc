#include "tests/benchmarks/upload/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <thread>
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

struct Pair {
  FileDescriptor client;
  FileDescriptor server;
};

StatusOr<Pair> Connect() {
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
  Pair pair{.client = FileDescriptor(socket(AF_INET, SOCK_STREAM, 0))};
  if (connect(pair.client.get(), raw, size) != 0) {
    return Unavailable("cannot connect on loopback");
  }
  pair.server = FileDescriptor(accept(listener.get(), nullptr, nullptr));
  return pair;
}

// `send` and `receive` move at most so many bytes and return how many.
double Move(uint64_t bytes,
            const std::function<ssize_t(const char*, size_t)>& send,
            const std::function<ssize_t(char*, size_t)>& receive) {
  const std::string source = RandomBytes(kPiece);
  const double start = Now();
  std::thread sender([&] {
    for (uint64_t left = bytes; left > 0;) {
      const ssize_t sent =
          send(source.data(), std::min<uint64_t>(left, kPiece));
      if (sent <= 0) {
        return;
      }
      left -= static_cast<uint64_t>(sent);
    }
  });
  std::vector<char> buffer(kPiece);
  uint64_t got = 0;
  while (got < bytes) {
    const ssize_t size = receive(buffer.data(), buffer.size());
    if (size <= 0) {
      break;
    }
    got += static_cast<uint64_t>(size);
  }
  const double seconds = Now() - start;
  sender.join();
  return got == bytes ? seconds : -1;
}

StatusOr<double> Checked(double seconds) {
  return seconds > 0 ? StatusOr<double>(seconds)
                     : Internal("a loopback transfer broke off");
}

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

}  // namespace

StatusOr<double> RawTcpSeconds(uint64_t bytes) {
  ASSIGN_OR_RETURN(const Pair pair, Connect());
  return Checked(Move(
      bytes,
      [&](const char* data, size_t size) {
        return write(pair.client.get(), data, size);
      },
      [&](char* data, size_t size) {
        return read(pair.server.get(), data, size);
      }));
}

StatusOr<double> RawTlsSeconds(uint64_t bytes) {
  ASSIGN_OR_RETURN(const Pair pair, Connect());
  ASSIGN_OR_RETURN(const Context server_context, ServerContext());
  const Context client_context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  const Session server(SSL_new(server_context.get()), SSL_free);
  const Session client(SSL_new(client_context.get()), SSL_free);
  SSL_set_fd(server.get(), pair.server.get());
  SSL_set_fd(client.get(), pair.client.get());
  std::thread shake([&] { SSL_accept(server.get()); });
  const bool connected = SSL_connect(client.get()) == 1;
  shake.join();
  if (!connected) {
    return Internal("the TLS handshake on loopback failed");
  }
  return Checked(Move(
      bytes,
      [&](const char* data, size_t size) -> ssize_t {
        return SSL_write(client.get(), data, static_cast<int>(size));
      },
      [&](char* data, size_t size) -> ssize_t {
        return SSL_read(server.get(), data, static_cast<int>(size));
      }));
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
