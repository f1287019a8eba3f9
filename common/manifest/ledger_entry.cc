#include "common/manifest/ledger_entry.h"

#include <algorithm>
#include <utility>

#include "common/crypto/digest.h"
#include "common/crypto/dsse.h"
#include "common/manifest/statement.h"

namespace tributary::manifest {
namespace {

Subject SubjectOf(int64_t index, std::string_view entry_json) {
  return {.name = fmt::format("ledger/{}", index),
          .sha256 = crypto::Sha256Hex(entry_json)};
}

// The entry of an envelope that one of `keys` signed.
StatusOr<LedgerEntry> VerifyLine(std::string_view line,
                                 const std::vector<crypto::PublicKey>& keys,
                                 Chain& chain) {
  ASSIGN_OR_RETURN(const crypto::Envelope envelope,
                   crypto::Envelope::FromJson(line));
  const auto key = std::find_if(
      keys.begin(), keys.end(), [&envelope](const crypto::PublicKey& key) {
        return key.key_id() == envelope.signatures.front().key_id;
      });
  if (key == keys.end()) {
    return Unauthenticated(
        "signed by {}, which is not one of the {} known keys",
        envelope.signatures.front().key_id, keys.size());
  }
  ASSIGN_OR_RETURN(const Statement statement,
                   OpenStatement(line, kLedgerEntryKind, *key));
  ASSIGN_OR_RETURN(LedgerEntry entry, chain.Verify(statement.predicate_json));
  RETURN_IF_ERROR(CheckSubject(
      statement, SubjectOf(entry.index, statement.predicate_json)));
  return entry;
}

}  // namespace

StatusOr<std::string> AppendLedgerEntry(LedgerEntry entry,
                                        const crypto::PrivateKey& key,
                                        Chain& chain) {
  Chain next = chain;
  ASSIGN_OR_RETURN(std::string json, next.Append(std::move(entry)));
  const Subject subject = SubjectOf(chain.size(), json);
  ASSIGN_OR_RETURN(std::string line,
                   SignStatement({.kind = std::string(kLedgerEntryKind),
                                  .subjects = {subject},
                                  .predicate_json = std::move(json)},
                                 key));
  chain = std::move(next);
  return line;
}

StatusOr<LedgerEntry> ReadLedgerEntryUnverified(std::string_view line) {
  ASSIGN_OR_RETURN(const Statement statement,
                   ReadStatementUnverified(line, kLedgerEntryKind));
  return LedgerEntry::FromJson(statement.predicate_json);
}

StatusOr<std::vector<LedgerEntry>> VerifyLedger(
    std::string_view jsonl, const std::vector<crypto::PublicKey>& keys,
    Chain& chain) {
  std::vector<LedgerEntry> entries;
  Chain verified;
  while (!jsonl.empty()) {
    const size_t end = jsonl.find('\n');
    if (end == std::string_view::npos) {
      return DataLoss("ledger: line {}: cut off in the middle",
                      entries.size() + 1);
    }
    StatusOr<LedgerEntry> entry =
        VerifyLine(jsonl.substr(0, end), keys, verified);
    if (!entry.ok()) {
      const std::string context =
          fmt::format("ledger: line {}", entries.size() + 1);
      return absl::IsUnauthenticated(entry.status())
                 ? Annotate(entry.status(), context)
                 : DataLoss("{}: {}", context,
                            std::string(entry.status().message()));
    }
    entries.push_back(*std::move(entry));
    jsonl.remove_prefix(end + 1);
  }
  chain = std::move(verified);
  return entries;
}

}  // namespace tributary::manifest
