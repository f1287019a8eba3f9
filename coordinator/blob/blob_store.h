#pragma once

// Content-addressed bytes. Callers see names, offsets and durability only, so
// that another backend can take the place of the directory.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/blob_name.h"

namespace tributary::coordinator {

using manifest::BlobName;

// Reads one blob. It stays readable while the object lives, whatever happens
// to the name.
class BlobReader {
 public:
  virtual ~BlobReader() = default;
  virtual uint64_t size() const = 0;
  // The bytes from `offset` on: as many as fit, fewer at the end, 0 behind it.
  virtual StatusOr<size_t> Read(uint64_t offset, std::span<char> out) = 0;
};

// Receives the bytes of one blob, in order. Used by one thread at a time.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  // Bytes taken so far, durable or not.
  virtual uint64_t offset() const = 0;
  // OUT_OF_RANGE: more than the name's size. RESOURCE_EXHAUSTED: disk full.
  virtual Status Append(std::span<const std::string_view> pieces) = 0;
  Status Append(std::string_view bytes) { return Append({&bytes, 1}); }
  // Makes everything taken so far durable and returns how much that is. It
  // counts only once the caller has recorded it.
  virtual StatusOr<uint64_t> Sync() = 0;
  // Opaque text that lets BeginWrite go on at offset() without reading the
  // bytes again; empty when the backend cannot.
  virtual std::string HashState() const = 0;
  // All bytes are there: verifies them, makes them durable and visible under
  // their name. INVALID_ARGUMENT: they do not have the name's digest; the
  // partial is deleted. FAILED_PRECONDITION: bytes are missing. The writer is
  // used up after OK and INVALID_ARGUMENT.
  virtual Status Commit() = 0;
};

// Where an upload goes on: what Sync returned, and HashState at that moment.
// Without a state, or with one of another size, the bytes are hashed again.
struct WritePosition {
  uint64_t size = 0;
  std::string hash_state = {};
};

class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Whether all bytes of that name are there.
  virtual StatusOr<bool> Contains(const BlobName& name) = 0;
  // NOT_FOUND: no such blob. DATA_LOSS: the stored size is another one.
  virtual StatusOr<std::unique_ptr<BlobReader>> OpenReader(
      const BlobName& name) = 0;

  // Starts or resumes the upload `upload_id` at `position`, which the caller
  // recorded: bytes behind it are cut off. DATA_LOSS: fewer bytes are there.
  virtual StatusOr<std::unique_ptr<BlobWriter>> BeginWrite(
      const BlobName& name, const std::string& upload_id,
      const WritePosition& position) = 0;
  // Deletes what an unfinished upload left; OK when there is nothing.
  virtual Status DiscardWrite(const std::string& upload_id) = 0;
  // The ids of unfinished uploads.
  virtual StatusOr<std::vector<std::string>> ListWrites() = 0;

  // Copies a file of this machine into the store and returns its name.
  virtual StatusOr<BlobName> Import(const std::filesystem::path& file) = 0;
  // Makes the blob a read-only file at `target`, sharing its bytes where the
  // backend can. Replaces a file that is there.
  virtual Status Materialise(const BlobName& name,
                             const std::filesystem::path& target) = 0;
  // Deletes a blob durably; OK when it is not there.
  virtual Status Delete(const BlobName& name) = 0;
  // Every blob, sorted.
  virtual StatusOr<std::vector<BlobName>> List() = 0;

  // Free space for new blobs, bytes.
  virtual StatusOr<uint64_t> FreeBytes() = 0;
};

}  // namespace tributary::coordinator
