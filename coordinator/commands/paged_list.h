#pragma once

#include <vector>

#include "coordinator/commands/admin_client.h"

namespace tributary::coordinator {

// All items of a paged list method; `items` picks them out of a page. `request`
// may narrow the list.
template <typename Item, typename Stub, typename Request, typename Response,
          typename ItemsOf>
StatusOr<std::vector<Item>> ListAll(
    AdminClient& client, Stub& stub,
    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                 Response*),
    ItemsOf items, Request request = {}) {
  constexpr int kPageSize = 1000;
  std::vector<Item> all;
  request.set_page_size(kPageSize);
  do {
    ASSIGN_OR_RETURN(const Response page, client.Call(stub, method, request));
    const auto& found = items(page);
    all.insert(all.end(), found.begin(), found.end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

}  // namespace tributary::coordinator
