#include "coordinator/gateway/http_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tributary::coordinator {
namespace {

using std::chrono::milliseconds;

void Describe(const sockaddr_storage& address, std::string& ip, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    port = ntohs(v6.sin6_port);
  }
  ip = text;
}

}  // namespace

HttpConnection::HttpConnection(socket_t socket, milliseconds timeout)
    : socket_(socket), timeout_(timeout), head_end_(Clock::now() + timeout) {}

bool HttpConnection::Wait(short events, milliseconds timeout) const {
  const Clock::time_point end = Clock::now() + timeout;
  while (true) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(end - Clock::now());
    pollfd wanted = {.fd = socket_, .events = events, .revents = 0};
    const int ready =
        poll(&wanted, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready >= 0 || errno != EINTR) {
      return ready > 0;
    }
  }
}

bool HttpConnection::gone() const {
  pollfd wanted = {.fd = socket_, .events = POLLRDHUP, .revents = 0};
  return poll(&wanted, 1, 0) > 0 &&
         (wanted.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

bool HttpConnection::is_readable() const {
  return begin_ < end_ || Wait(POLLIN, timeout_);
}

bool HttpConnection::is_writable() const { return Wait(POLLOUT, timeout_); }

bool HttpConnection::CountHead(std::string_view taken) {
  for (const char byte : taken) {
    if (byte == '\n') {
      // The first empty line ends it.
      in_head_ = line_bytes_ > 0;
      line_bytes_ = 0;
    } else if (byte != '\r') {
      ++line_bytes_;
    }
    ++head_bytes_;
    if (!in_head_) {
      break;
    }
  }
  return head_bytes_ <= kMaxHeadBytes;
}

ssize_t HttpConnection::read(char* out, size_t size) {
  if (begin_ == end_) {
    const auto patience =
        in_head_
            ? std::chrono::duration_cast<milliseconds>(head_end_ - Clock::now())
            : timeout_;
    if (!Wait(POLLIN, patience)) {
      return -1;
    }
    ssize_t got = -1;
    do {
      got = recv(socket_, buffer_.data(), buffer_.size(), 0);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
      return got;
    }
    begin_ = 0;
    end_ = static_cast<size_t>(got);
  }
  const size_t taken = std::min(size, end_ - begin_);
  std::memcpy(out, buffer_.data() + begin_, taken);
  begin_ += taken;
  if (in_head_ && !CountHead({out, taken})) {
    return -1;
  }
  return static_cast<ssize_t>(taken);
}

ssize_t HttpConnection::write(const char* data, size_t size) {
  if (!is_writable()) {
    return -1;
  }
  ssize_t sent = -1;
  do {
    sent = send(socket_, data, size, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

void HttpConnection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    Describe(address, ip, port);
  }
}

void HttpConnection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    Describe(address, ip, port);
  }
}

}  // namespace tributary::coordinator
