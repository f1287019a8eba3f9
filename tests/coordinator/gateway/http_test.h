#pragma once

#include <httplib.h>

#include <memory>
#include <string>

namespace tributary::coordinator {

inline std::unique_ptr<httplib::Client> MakeClient(const std::string& address) {
  auto client = std::make_unique<httplib::Client>("http://" + address);
  client->set_read_timeout(20);
  return client;
}

}  // namespace tributary::coordinator
