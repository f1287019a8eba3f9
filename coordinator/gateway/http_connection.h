#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace tributary::coordinator {

// The connection of one request, as the HTTP library reads and writes it. The
// library bounds the length of a header line, not their number: here the
// request's head is bounded as a whole, in bytes and in time.
class HttpConnection : public httplib::Stream {
 public:
  // Of the request line and all headers.
  static constexpr size_t kMaxHeadBytes = 64u << 10;

  // Does not own the socket. The head must be there within `timeout`; behind
  // it each read or write may take as long.
  HttpConnection(socket_t socket, std::chrono::milliseconds timeout);

  // True when the client will read no answer: it has closed the connection, or
  // its sending half.
  bool gone() const;

  bool is_readable() const override;
  bool is_writable() const override;
  // What is there, at most `size` bytes; 0 at the end; -1 after a time-out, an
  // error or a head that is too long.
  ssize_t read(char* out, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;

  bool Wait(short events, std::chrono::milliseconds timeout) const;
  // Counts what the library takes of the head; false when it is too long.
  bool CountHead(std::string_view taken);

  const socket_t socket_;
  const std::chrono::milliseconds timeout_;
  const Clock::time_point head_end_;
  std::array<char, 4096> buffer_;
  size_t begin_ = 0;  // of what was received and not taken yet
  size_t end_ = 0;
  bool in_head_ = true;
  size_t head_bytes_ = 0;
  size_t line_bytes_ = 0;  // of the head's last line, without its end
};

}  // namespace tributary::coordinator
