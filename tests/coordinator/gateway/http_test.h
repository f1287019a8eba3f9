#pragma once

#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "coordinator/gateway/http_server.h"

namespace tributary::coordinator {

inline std::unique_ptr<httplib::Client> MakeClient(const std::string& address) {
  auto client = std::make_unique<httplib::Client>("http://" + address);
  client->set_read_timeout(20);
  return client;
}

// A connection without a client's good manners; closed with the object.
class RawConnection {
 public:
  explicit RawConnection(const std::string& address) {
    const auto target = ParseListenAddress(address);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(target->second));
    inet_pton(AF_INET, target->first.c_str(), &to.sin_addr);
    socket_ = socket(AF_INET, SOCK_STREAM, 0);
    connected_ =
        connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
  }
  ~RawConnection() { close(socket_); }
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  bool connected() const { return connected_; }
  void Send(const std::string& text) {
    send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
  }
  // All that comes until the other side closes.
  std::string Receive() {
    std::string all;
    char part[4096];
    for (ssize_t got = 0; (got = recv(socket_, part, sizeof(part), 0)) > 0;) {
      all.append(part, static_cast<size_t>(got));
    }
    return all;
  }

 private:
  int socket_ = -1;
  bool connected_ = false;
};

}  // namespace tributary::coordinator
