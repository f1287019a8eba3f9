#include "coordinator/storage/blob_table.h"

#include "coordinator/storage/query.h"

namespace tributary::coordinator {
namespace {

using manifest::BlobName;

std::vector<BlobName> ReadNames(Query& query) {
  std::vector<BlobName> names;
  while (query.Next()) {
    if (StatusOr<BlobName> name = BlobName::Parse(query.Text(0)); name.ok()) {
      names.push_back(*std::move(name));
    }
  }
  return names;
}

}  // namespace

void BlobTable::Add(const BlobName& name, std::string_view owner,
                    int64_t now_s) {
  Execute(transaction_,
          "INSERT INTO blobs (name, size_bytes, create_time_s) "
          "VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
          name.ToString(), name.size, now_s);
  Execute(transaction_,
          "INSERT INTO blob_references (blob, owner) VALUES (?, ?) "
          "ON CONFLICT (blob, owner) DO NOTHING",
          name.ToString(), owner);
}

bool BlobTable::Contains(const BlobName& name) {
  return Query(transaction_, "SELECT 1 FROM blobs WHERE name = ?",
               name.ToString())
      .Next();
}

void BlobTable::RemoveReference(const BlobName& name, std::string_view owner) {
  Execute(transaction_,
          "DELETE FROM blob_references WHERE blob = ? AND owner = ?",
          name.ToString(), owner);
}

void BlobTable::RemoveOwner(std::string_view owner) {
  Execute(transaction_, "DELETE FROM blob_references WHERE owner = ?", owner);
}

std::vector<std::string> BlobTable::OwnersOf(const BlobName& name) {
  Query query(transaction_,
              "SELECT owner FROM blob_references WHERE blob = ? ORDER BY owner",
              name.ToString());
  std::vector<std::string> owners;
  while (query.Next()) {
    owners.push_back(query.Text(0));
  }
  return owners;
}

std::vector<BlobName> BlobTable::BlobsOf(std::string_view owner) {
  Query query(transaction_,
              "SELECT blob FROM blob_references WHERE owner = ? ORDER BY blob",
              owner);
  return ReadNames(query);
}

std::vector<BlobName> BlobTable::ListUnreferenced() {
  Query query(transaction_,
              "SELECT name FROM blobs WHERE NOT EXISTS (SELECT 1 FROM "
              "blob_references WHERE blob = name) ORDER BY name");
  return ReadNames(query);
}

std::vector<BlobName> BlobTable::List() {
  Query query(transaction_, "SELECT name FROM blobs ORDER BY name");
  return ReadNames(query);
}

bool BlobTable::Forget(const BlobName& name) {
  if (Query(transaction_, "SELECT 1 FROM blob_references WHERE blob = ?",
            name.ToString())
          .Next()) {
    return false;
  }
  Execute(transaction_, "DELETE FROM blobs WHERE name = ?", name.ToString());
  return true;
}

int64_t BlobTable::TotalBytes() {
  Query query(transaction_, "SELECT coalesce(sum(size_bytes), 0) FROM blobs");
  query.Next();
  return query.Integer(0);
}

}  // namespace tributary::coordinator
