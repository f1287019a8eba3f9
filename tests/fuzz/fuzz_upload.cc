// The state machine behind BlobService.Write: a sequence of messages, stream
// deaths, take-overs, damage and withdrawals against one upload.

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/resource_name.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/service/upload_session.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/contributor_store.h"

namespace tributary::coordinator {
namespace {

constexpr size_t kMaxBytes = 4096;
constexpr char kContributor[] = "site";

void Check(bool condition) {
  if (!condition) {
    std::abort();
  }
}

// A coordinator's state without its server, in memory where there is /dev/shm.
class State {
 public:
  State()
      : folder_(MakeFolder()),
        home_(folder_.path()),
        key_(*crypto::PrivateKey::Generate()),
        database_(*Database::Open(home_.database(), Database::Mode::kCreate)),
        store_(*DirectoryBlobStore::Create(
            {.blobs = home_.blobs(), .uploads = home_.uploads()})),
        catalog_(*database_, *store_, SystemClock()),
        core_{home_, settings_, SystemClock(), *database_, catalog_, key_} {
    settings_.quotas.min_free_disk_bytes = 1;
    Transact([&](Transaction& transaction) {
      ContributorStore(transaction).EnsureInvited(kContributor, 1);
      AnchorStore(transaction).Add({.id = "anchor", .digest = "digest"});
    });
  }

  template <typename Body>
  void Transact(Body&& body) {
    Check(database_
              ->Transact([&](Transaction& transaction) {
                body(transaction);
                return absl::OkStatus();
              })
              .ok());
  }

  const Core& core() const { return core_; }
  BlobStore& store() { return *store_; }
  const Home& home() const { return home_; }
  UploadRegistry& registry() { return registry_; }
  std::string NextName() { return "c" + std::to_string(++names_); }

 private:
  static TemporaryDirectory MakeFolder() {
    if (std::filesystem::is_directory("/dev/shm")) {
      setenv("TMPDIR", "/dev/shm", 0);
    }
    return *TemporaryDirectory::Create("fuzz-upload");
  }

  TemporaryDirectory folder_;
  const Home home_;
  Settings settings_;
  const crypto::PrivateKey key_;
  const std::unique_ptr<Database> database_;
  const std::unique_ptr<DirectoryBlobStore> store_;
  BlobCatalog catalog_;
  const Core core_;
  UploadRegistry registry_;
  int names_ = 0;
};

class Upload {
 public:
  Upload(State& state, std::string bytes)
      : state_(state),
        bytes_(std::move(bytes)),
        name_(state.NextName()),
        blob_{crypto::Sha256Hex(bytes_), bytes_.size()} {
    state_.Transact([&](Transaction& transaction) {
      ContributionStore(transaction)
          .Add({.id = name_,
                .contributor = kContributor,
                .anchor_digest = "digest",
                .blob = blob_.ToString(),
                .manifest_digest = "m",
                .manifest_json = "{}",
                .envelope_json = "{}"});
    });
  }

  ~Upload() {
    session_.reset();
    state_.Transact([&](Transaction& transaction) {
      UploadStore(transaction).Remove(name_, blob_.ToString());
      BlobTable(transaction)
          .RemoveOwner(manifest::ResourceName(
              manifest::Collection::kContributions, name_));
    });
    Check(state_.core().catalog.Collect().ok());
    Check(!*state_.store().Contains(blob_));
    Check(state_.store().ListWrites()->empty());
  }

  void Step(uint8_t op, uint8_t argument) {
    switch (op % 8) {
      case 0:
        Open();
        break;
      case 1:
      case 2:
        Append(argument, op % 8 == 2 ? '\x55' : '\0');
        break;
      case 3:
        if (session_) {
          Note(session_->Commit());
        }
        break;
      case 4:
        if (session_ && !session_->complete()) {
          const Status status = session_->Finish();
          if (status.ok()) {
            Check(session_->complete());
          }
          session_.reset();
        }
        break;
      case 5:
        session_.reset();  // the connection dies
        break;
      case 6:
        Damage(argument);
        break;
      default:
        Withdraw(argument);
    }
    CheckRow();
  }

 private:
  void Open() {
    session_.reset();
    auto opened = UploadSession::Open(
        state_.core(),
        {.contributor = kContributor, .contribution = name_, .blob = blob_});
    if (!opened.ok()) {
      Check(withdrawn_);
      return;
    }
    session_ = *std::move(opened);
    if (session_->complete()) {
      return;
    }
    state_.registry().Acquire(
        session_->target().Key(),
        {.end = [](const Status&) {},
         .granted =
             [&](std::unique_ptr<UploadRegistry::Lease> lease) {
               Check(lease != nullptr);
               if (!session_->Begin(std::move(lease)).ok()) {
                 session_.reset();
               }
             }});
  }

  void Append(uint8_t argument, char flip) {
    if (!session_ || session_->complete()) {
      return;
    }
    const auto offset = static_cast<size_t>(session_->offset());
    std::string piece = bytes_.substr(std::min(offset, bytes_.size()),
                                      static_cast<size_t>(argument) * 8);
    if (flip != 0 && !piece.empty()) {
      piece[argument % piece.size()] ^= flip;
    } else if (argument == 255) {
      piece += "more than there is";
    }
    const std::string_view view = piece;
    Note(session_->Append({&view, 1}));
  }

  void Note(const Status& status) {
    if (!status.ok()) {
      session_.reset();
    }
  }

  // The partial file becomes shorter, or is gone.
  void Damage(uint8_t argument) {
    session_.reset();
    const StatusOr<std::vector<std::string>> ids = state_.store().ListWrites();
    Check(ids.ok());
    for (const std::string& id : *ids) {
      const auto path = state_.home().uploads() / id;
      std::error_code error;
      const auto size = std::filesystem::file_size(path, error);
      std::filesystem::resize_file(path, size * argument / 256, error);
      damaged_ = true;
    }
  }

  void Withdraw(uint8_t argument) {
    if (argument % 8 != 0) {
      return;
    }
    withdrawn_ = true;
    state_.Transact([&](Transaction& transaction) {
      ContributionStore(transaction)
          .SetState(name_, ContributionState::kWithdrawn, 2);
    });
  }

  // committed_size never falls, but to nothing where the file was damaged;
  // complete means that the bytes are right.
  void CheckRow() {
    std::optional<UploadRow> row;
    state_.Transact([&](Transaction& transaction) {
      row = UploadStore(transaction).Find(name_, blob_.ToString());
    });
    if (!row) {
      committed_ = 0;  // a wrong digest: everything from the beginning
      return;
    }
    if (row->committed_size < committed_) {
      Check(damaged_ && row->committed_size == 0);
      damaged_ = false;
    }
    Check(row->committed_size <= row->size_bytes);
    committed_ = row->committed_size;
    if (row->complete) {
      auto reader = state_.store().OpenReader(blob_);
      Check(reader.ok());
      std::string stored(bytes_.size(), '\0');
      Check(*(*reader)->Read(0, std::span<char>(stored)) == bytes_.size());
      Check(stored == bytes_);
    }
  }

  State& state_;
  const std::string bytes_;
  const std::string name_;
  const BlobName blob_;
  std::unique_ptr<UploadSession> session_;
  int64_t committed_ = 0;
  bool damaged_ = false;  // since the upload began anew
  bool withdrawn_ = false;
};

}  // namespace
}  // namespace tributary::coordinator

// Two bytes of size, pairs of operation and argument.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tributary::coordinator::kMaxBytes;
  static tributary::coordinator::State state;
  if (size < 4 || size > 512) {
    return 0;
  }
  std::string bytes(1 + (data[0] + 256 * data[1]) % kMaxBytes, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>(i * 31 + data[0]);
  }
  tributary::coordinator::Upload upload(state, std::move(bytes));
  for (size_t i = 2; i + 1 < size; i += 2) {
    upload.Step(data[i], data[i + 1]);
  }
  return 0;
}
