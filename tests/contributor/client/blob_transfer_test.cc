#include "contributor/client/blob_transfer.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/rpc/status_conversion.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tributary/v1/blob.grpc.pb.h"

namespace tributary::contributor {
namespace {

using ::testing::HasSubstr;

// A blob service in memory with faults that a test chooses.
class FakeBlobs : public v1::BlobService::Service {
 public:
  // To look at when no call runs: whatever calls wrote under the lock is seen.
  FakeBlobs& Settled() {
    const std::lock_guard lock(mutex_);
    return *this;
  }

  grpc::Status QueryWriteStatus(
      grpc::ServerContext* /*context*/,
      const v1::QueryWriteStatusRequest* request,
      v1::QueryWriteStatusResponse* response) override {
    const std::lock_guard lock(mutex_);
    ++queries;
    const auto found = committed.find(request->resource_name());
    if (found == committed.end()) {
      return {grpc::StatusCode::NOT_FOUND, "unknown upload"};
    }
    response->set_committed_size(static_cast<int64_t>(found->second.size()));
    return grpc::Status::OK;
  }

  grpc::Status Write(grpc::ServerContext* /*context*/,
                     grpc::ServerReader<v1::WriteRequest>* reader,
                     v1::WriteResponse* response) override {
    v1::WriteRequest request;
    std::string* bytes = nullptr;
    while (reader->Read(&request)) {
      const std::lock_guard lock(mutex_);
      if (bytes == nullptr) {
        ++streams;
        contribution = request.contribution();
        bytes = &committed[request.resource_name()];
        if (permanent_error) {
          return *permanent_error;
        }
        if (forget_after_query && streams == 1) {
          bytes->resize(1000);
        }
      }
      largest_message =
          std::max<size_t>(largest_message, request.data().size());
      if (static_cast<uint64_t>(request.write_offset()) != bytes->size()) {
        return rpc::ToGrpcStatus(rpc::WithErrorInfo(
            Aborted("wrong offset"),
            {.reason = rpc::kWriteOffsetMismatch,
             .metadata = {
                 {rpc::kCommittedSizeKey, std::to_string(bytes->size())}}}));
      }
      if (failures > 0) {
        --failures;
        *bytes += request.data().substr(0, request.data().size() / 2);
        return {grpc::StatusCode::UNAVAILABLE, "cut"};
      }
      *bytes += request.data();
    }
    response->set_committed_size(static_cast<int64_t>(bytes->size()));
    return grpc::Status::OK;
  }

  grpc::Status Read(grpc::ServerContext* /*context*/,
                    const v1::ReadRequest* request,
                    grpc::ServerWriter<v1::ReadResponse>* writer) override {
    const std::lock_guard lock(mutex_);
    ++streams;
    read_offsets.push_back(request->read_offset());
    const std::string& bytes = committed[request->resource_name()];
    size_t offset = static_cast<size_t>(request->read_offset());
    while (offset < bytes.size()) {
      v1::ReadResponse piece;
      piece.set_data(bytes.substr(offset, 100'000));
      offset += piece.data().size();
      if (corrupt > 0 && offset >= bytes.size()) {
        --corrupt;
        piece.mutable_data()->back() ^= 1;
      }
      writer->Write(piece);
      if (failures > 0) {
        --failures;
        return {grpc::StatusCode::UNAVAILABLE, "cut"};
      }
    }
    return grpc::Status::OK;
  }

  std::map<std::string, std::string> committed;
  std::string contribution;
  size_t largest_message = 0;
  int queries = 0;
  int streams = 0;
  int failures = 0;  // streams that end early
  int corrupt = 0;   // downloads with a flipped bit
  bool forget_after_query = false;
  std::optional<grpc::Status> permanent_error;
  std::vector<int64_t> read_offsets;

 private:
  std::mutex mutex_;
};

class BlobTransferTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("blob-transfer-test");
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                   grpc::InsecureChannelCredentials());
    for (size_t i = 0; i < 3'500'000; ++i) {
      bytes_ += static_cast<char>(i * 2654435761u >> 13);
    }
    blob_ = {.sha256 = crypto::Sha256Hex(bytes_), .size = bytes_.size()};
    ASSERT_TRUE(WriteFileAtomic(folder_->path() / "file", bytes_).ok());
    auto cache = BlobCache::Create(folder_->path() / "cache");
    ASSERT_TRUE(cache.ok());
    cache_ = *std::move(cache);
    retry_.give_up_after_s = 30;
    retry_.sleep = [this](double seconds) { waited_ += seconds; };
  }

  void TearDown() override { server_->Shutdown(); }

  Status Upload() {
    return UploadBlob(
        channel_,
        {.contribution = "c", .blob = blob_, .file = folder_->path() / "file"},
        retry_, nullptr);
  }
  Status Download() {
    return DownloadBlob(channel_, blob_, *cache_, retry_, nullptr);
  }
  std::string& Stored() {
    return service_.Settled().committed[blob_.ToString()];
  }

  std::optional<TemporaryDirectory> folder_;
  FakeBlobs service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<BlobCache> cache_;
  std::string bytes_;
  manifest::BlobName blob_;
  RetryOptions retry_;
  double waited_ = 0;
};

TEST_F(BlobTransferTest, UploadsInMessagesOfAtMostOneMebibyte) {
  const Status status = Upload();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Stored(), bytes_);
  EXPECT_EQ(service_.Settled().largest_message, 1u << 20);
  EXPECT_EQ(service_.Settled().contribution, "contributions/c");
  EXPECT_EQ(service_.Settled().streams, 1);
}

TEST_F(BlobTransferTest, AnUploadGoesOnFromTheCommittedSize) {
  Stored() = bytes_.substr(0, 2'000'001);
  ASSERT_TRUE(Upload().ok());
  EXPECT_EQ(Stored(), bytes_);
  EXPECT_EQ(service_.Settled().streams, 1);
}

TEST_F(BlobTransferTest, LostConnectionsAreTriedAgainWithPauses) {
  service_.failures = 3;
  const Status status = Upload();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Stored(), bytes_);
  EXPECT_EQ(service_.Settled().streams, 4);
  // Each attempt made progress, so no pause grew beyond the first.
  EXPECT_GT(waited_, 2.0);
  EXPECT_LT(waited_, 4.0);
}

TEST_F(BlobTransferTest, AWrongOffsetIsCorrectedWithoutAPause) {
  Stored() = bytes_.substr(0, 5000);
  service_.forget_after_query = true;
  const Status status = Upload();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Stored(), bytes_);
  EXPECT_EQ(service_.Settled().queries, 1);
  EXPECT_EQ(service_.Settled().streams, 2);
  EXPECT_EQ(waited_, 0);
}

TEST_F(BlobTransferTest, PermanentErrorsStopAtOnce) {
  service_.permanent_error =
      grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "digest mismatch");
  const Status status = Upload();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(service_.Settled().streams, 1);
  EXPECT_EQ(waited_, 0);
}

TEST_F(BlobTransferTest, GivesUpWithoutProgress) {
  service_.permanent_error =
      grpc::Status(grpc::StatusCode::UNAVAILABLE, "always");
  retry_.give_up_after_s = 2.5;
  EXPECT_TRUE(absl::IsUnavailable(Upload()));
}

TEST_F(BlobTransferTest, AnInterruptedUploadIsCancelled) {
  CancellationToken token;
  token.Cancel();
  retry_.cancellation = &token;
  EXPECT_TRUE(absl::IsCancelled(Upload()));
}

TEST_F(BlobTransferTest, ADownloadGoesOnWhereItWasCut) {
  Stored() = bytes_;
  service_.failures = 2;
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(service_.Settled().read_offsets,
            (std::vector<int64_t>{0, 100'000, 200'000}));
  EXPECT_TRUE(cache_->Verify(blob_).ok());
}

TEST_F(BlobTransferTest, FlippedBitsAreFetchedAnewOnce) {
  Stored() = bytes_;
  service_.corrupt = 1;
  const Status status = Download();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(service_.Settled().read_offsets, (std::vector<int64_t>{0, 0}));
}

TEST_F(BlobTransferTest, SeveralTransfersAddUpTheirProgress) {
  const std::vector<uint64_t> sizes = {10, 0, 30, 40, 50, 60};
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  std::set<size_t> seen;
  std::mutex mutex;
  uint64_t last = 0;
  const Status status = TransferAll(
      sizes,
      [&](size_t index, const TransferProgress& progress) -> Status {
        most = std::max<int>(most, ++running);
        progress(sizes[index] / 2, sizes[index]);
        {
          const std::lock_guard<std::mutex> lock(mutex);
          seen.insert(index);
        }
        --running;
        return absl::OkStatus();
      },
      [&](uint64_t done, uint64_t total) {
        EXPECT_EQ(total, 190u);
        EXPECT_LE(done, total);
        last = done;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(seen.size(), sizes.size());
  EXPECT_LE(most, kParallelTransfers);
  EXPECT_EQ(last, 190u);
  EXPECT_TRUE(absl::IsNotFound(TransferAll(
      sizes,
      [](size_t index, const TransferProgress&) {
        return index == 2 ? absl::NotFoundError("x") : absl::OkStatus();
      },
      nullptr)));
}

TEST_F(BlobTransferTest, BytesThatStayWrongAreRefused) {
  Stored() = bytes_;
  service_.corrupt = 100;
  EXPECT_TRUE(absl::IsDataLoss(Download()));
  EXPECT_FALSE(cache_->Find(blob_).ok());
}

}  // namespace
}  // namespace tributary::contributor
