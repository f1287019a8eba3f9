#include "coordinator/storage/anchor_store.h"

#include "coordinator/storage/query.h"

namespace tributary::coordinator {
namespace {

constexpr char kSelectAnchor[] =
    "SELECT sequence, id, digest, import_digest, manifest_json, "
    "envelope_json, create_time_s FROM anchors ";

AnchorRow ReadAnchor(Query& query) {
  return {.sequence = query.Integer(0),
          .id = query.Text(1),
          .digest = query.Text(2),
          .import_digest = query.Text(3),
          .manifest_json = query.Text(4),
          .envelope_json = query.Text(5),
          .create_time_s = query.Integer(6)};
}

template <typename... Args>
std::optional<AnchorRow> FindOne(Transaction& transaction, const char* rest,
                                 const Args&... args) {
  Query query(transaction, (std::string(kSelectAnchor) + rest).c_str(),
              args...);
  if (!query.Next()) {
    return std::nullopt;
  }
  return ReadAnchor(query);
}

}  // namespace

void AnchorStore::Add(const AnchorRow& row) {
  Execute(transaction_,
          "INSERT INTO anchors (id, digest, import_digest, manifest_json, "
          "envelope_json, create_time_s) VALUES (?, ?, ?, ?, ?, ?)",
          row.id, row.digest, row.import_digest, row.manifest_json,
          row.envelope_json, row.create_time_s);
}

std::optional<AnchorRow> AnchorStore::Find(std::string_view id) {
  return FindOne(transaction_, "WHERE id = ?", id);
}

std::optional<AnchorRow> AnchorStore::FindByDigest(std::string_view digest) {
  return FindOne(transaction_, "WHERE digest = ?", digest);
}

std::optional<AnchorRow> AnchorStore::Current() {
  return FindOne(transaction_, "ORDER BY sequence DESC LIMIT 1");
}

std::vector<AnchorRow> AnchorStore::List(int64_t before, int64_t limit) {
  const std::string sql = std::string(kSelectAnchor) +
                          "WHERE sequence < ? ORDER BY sequence DESC LIMIT ?";
  Query query(transaction_, sql.c_str(), before, limit);
  std::vector<AnchorRow> rows;
  while (query.Next()) {
    rows.push_back(ReadAnchor(query));
  }
  return rows;
}

}  // namespace tributary::coordinator
