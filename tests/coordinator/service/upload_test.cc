#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "common/base/random.h"
#include "common/crypto/digest.h"
#include "common/rpc/blob_stream.h"
#include "tests/coordinator/service/test_federation.h"

namespace tributary::coordinator {
namespace {

using End = UploadRange::End;

class UploadTest : public testing::Test {
 protected:
  void SetUp() override {
    auto federation = TestFederation::Create();
    ASSERT_TRUE(federation.ok()) << federation.status();
    federation_ = *std::move(federation);
    ASSERT_TRUE(federation_->PublishAnchor().ok());
    auto owner = federation_->Enrol("alice");
    ASSERT_TRUE(owner.ok()) << owner.status();
    owner_.emplace(*std::move(owner));
    auto expert = federation_->MakeExpert(*owner_, "exp", 1);
    ASSERT_TRUE(expert.ok()) << expert.status();
    expert_ = *std::move(expert);
    v1::CreateContributionRequest request;
    request.set_request_id(RandomUuid());
    request.set_manifest_envelope_json(expert_.envelope_json);
    const auto created = Call<v1::Contribution>(
        *owner_->stubs->contributions,
        &v1::ContributionService::Stub::CreateContribution, request);
    ASSERT_TRUE(created.ok()) << created.status();
  }

  StatusOr<int64_t> Send(const UploadRange& range) {
    return Upload(*owner_->stubs, kName, expert_.manifest.blob, expert_.bytes,
                  range);
  }

  StatusOr<v1::QueryWriteStatusResponse> Query(const Stubs& stubs) {
    v1::QueryWriteStatusRequest request;
    request.set_resource_name(expert_.manifest.blob.ToString());
    request.set_contribution(kName);
    return Call<v1::QueryWriteStatusResponse>(
        *stubs.blobs, &v1::BlobService::Stub::QueryWriteStatus, request);
  }

  StatusOr<v1::FindMissingBlobsResponse> FindMissing(const Stubs& stubs) {
    v1::FindMissingBlobsRequest request;
    request.set_contribution(kName);
    request.add_blobs(expert_.manifest.blob.ToString());
    return Call<v1::FindMissingBlobsResponse>(
        *stubs.blobs, &v1::BlobService::Stub::FindMissingBlobs, request);
  }

  static constexpr char kName[] = "contributions/exp";
  std::unique_ptr<TestFederation> federation_;
  std::optional<Owner> owner_;
  TestExpert expert_;
};

TEST_F(UploadTest, ResumesAcrossRestarts) {
  EXPECT_TRUE(absl::IsNotFound(Query(*owner_->stubs).status()));
  const size_t half = expert_.bytes.size() / 2;
  EXPECT_EQ(Send({.end = half, .how = End::kHalfClose}).value_or(-1),
            static_cast<int64_t>(half));
  EXPECT_EQ(Query(*owner_->stubs)->committed_size(),
            static_cast<int64_t>(half));
  EXPECT_GT(Query(*owner_->stubs)->expire_time_s(), 0);
  ASSERT_TRUE(federation_->Restart().ok());
  owner_->stubs = federation_->Connect(owner_->identity);
  EXPECT_EQ(Query(*owner_->stubs)->committed_size(),
            static_cast<int64_t>(half));
  EXPECT_EQ(FindMissing(*owner_->stubs)->missing_blobs_size(), 1);
  EXPECT_EQ(Send({.offset = half}).value_or(-1),
            static_cast<int64_t>(expert_.bytes.size()));
  EXPECT_TRUE(Query(*owner_->stubs)->complete());
  EXPECT_EQ(FindMissing(*owner_->stubs)->missing_blobs_size(), 0);
  // Complete: any further stream is answered at once.
  EXPECT_EQ(Send({}).value_or(-1), static_cast<int64_t>(expert_.bytes.size()));
  EXPECT_EQ(
      Download(*owner_->stubs, expert_.manifest.blob.ToString()).value_or(""),
      expert_.bytes);
}

TEST_F(UploadTest, WrongOffsetsSayWhereToContinue) {
  ASSERT_TRUE(Send({.end = 1000, .how = End::kHalfClose}).ok());
  for (const size_t offset : {size_t{0}, size_t{999}, size_t{1001}}) {
    const Status status = Send({.offset = offset, .end = offset + 10}).status();
    EXPECT_TRUE(absl::IsAborted(status)) << status;
    const auto info = rpc::GetErrorInfo(status);
    ASSERT_TRUE(info);
    EXPECT_EQ(info->reason, rpc::kWriteOffsetMismatch);
    EXPECT_EQ(info->metadata.at(rpc::kCommittedSizeKey), "1000");
  }
  EXPECT_TRUE(Send({.offset = 1000}).ok());
}

TEST_F(UploadTest, AlteredBytesAreRefusedAndForgotten) {
  std::string altered = expert_.bytes;
  altered[altered.size() / 2] ^= 1;
  const Status status =
      Upload(*owner_->stubs, kName, expert_.manifest.blob, altered).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(rpc::HasReason(status, rpc::kDigestMismatch));
  EXPECT_TRUE(absl::IsNotFound(Query(*owner_->stubs).status()));
  EXPECT_TRUE(std::filesystem::is_empty(federation_->home().uploads()));
  EXPECT_TRUE(Send({}).ok());
}

TEST_F(UploadTest, CancelledStreamsKeepWhatArrived) {
  const size_t half = expert_.bytes.size() / 2;
  EXPECT_FALSE(Send({.end = half, .how = End::kCancel}).ok());
  // Whatever was committed, going on from there completes the upload.
  int64_t committed = 0;
  const auto status = Send({.offset = expert_.bytes.size()}).status();
  if (const auto info = rpc::GetErrorInfo(status)) {
    committed = std::stoll(info->metadata.at(rpc::kCommittedSizeKey));
  }
  EXPECT_LE(committed, static_cast<int64_t>(half));
  EXPECT_TRUE(Send({.offset = static_cast<size_t>(committed)}).ok());
}

TEST_F(UploadTest, ANewerStreamTakesOver) {
  grpc::ClientContext context;
  v1::WriteResponse response;
  const auto old_stream = owner_->stubs->blobs->Write(&context, &response);
  v1::WriteRequest first;
  first.set_resource_name(expert_.manifest.blob.ToString());
  first.set_contribution(kName);
  first.set_data(expert_.bytes.substr(0, 500));
  ASSERT_TRUE(old_stream->Write(first));
  while (!Query(*owner_->stubs).ok()) {
  }
  // The old stream stays open and silent; the new one ends it and gets what it
  // had.
  const Status status = Send({.offset = expert_.bytes.size()}).status();
  const auto info = rpc::GetErrorInfo(status);
  ASSERT_TRUE(info) << status;
  const int64_t committed =
      std::stoll(info->metadata.at(rpc::kCommittedSizeKey));
  EXPECT_FALSE(rpc::FromGrpcStatus(old_stream->Finish()).ok());
  EXPECT_TRUE(Send({.offset = static_cast<size_t>(committed)}).ok());
}

TEST_F(UploadTest, RefusesOtherBlobsNamesAndOwners) {
  const manifest::BlobName other{crypto::Sha256Hex("x"), 1};
  EXPECT_TRUE(absl::IsInvalidArgument(
      Upload(*owner_->stubs, kName, other, "x").status()));
  EXPECT_TRUE(absl::IsNotFound(
      Upload(*owner_->stubs, "contributions/none", other, "x").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Upload(*owner_->stubs, "nonsense", other, "x").status()));

  ASSERT_TRUE(Send({}).ok());
  const auto stranger = federation_->Enrol("bob");
  ASSERT_TRUE(stranger.ok());
  const auto& blob = expert_.manifest.blob;
  EXPECT_TRUE(absl::IsNotFound(
      Upload(*stranger->stubs, kName, blob, expert_.bytes).status()));
  EXPECT_TRUE(absl::IsNotFound(Query(*stranger->stubs).status()));
  EXPECT_TRUE(absl::IsNotFound(FindMissing(*stranger->stubs).status()));
  EXPECT_TRUE(
      absl::IsNotFound(Download(*stranger->stubs, blob.ToString()).status()));
}

TEST_F(UploadTest, TooLittleDiskIsRefusedBeforeTheBody) {
  federation_->settings().quotas.min_free_disk_bytes = 1ull << 62;
  ASSERT_TRUE(federation_->Restart().ok());
  owner_->stubs = federation_->Connect(owner_->identity);
  const Status status = Send({}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(rpc::HasReason(status, rpc::kLowDisk));
}

TEST_F(UploadTest, OversizedChunksAreRefused) {
  grpc::ClientContext context;
  v1::WriteResponse response;
  const auto writer = owner_->stubs->blobs->Write(&context, &response);
  v1::WriteRequest message;
  message.set_resource_name(expert_.manifest.blob.ToString());
  message.set_contribution(kName);
  message.set_data(std::string(rpc::kMaxChunkBytes + 1, 'x'));
  writer->Write(message);
  writer->WritesDone();
  EXPECT_TRUE(absl::IsInvalidArgument(rpc::FromGrpcStatus(writer->Finish())));
}

TEST_F(UploadTest, LostPartialStartsAgain) {
  ASSERT_TRUE(Send({.end = 1000, .how = End::kHalfClose}).ok());
  for (const auto& entry :
       std::filesystem::directory_iterator(federation_->home().uploads())) {
    std::filesystem::remove(entry.path());
  }
  const auto info = rpc::GetErrorInfo(Send({.offset = 1000}).status());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->metadata.at(rpc::kCommittedSizeKey), "0");
  EXPECT_TRUE(Send({}).ok());
}

TEST_F(UploadTest, ReadsResumeAndCheckTheirOffset) {
  ASSERT_TRUE(Send({}).ok());
  const std::string name = expert_.manifest.blob.ToString();
  EXPECT_EQ(Download(*owner_->stubs, name, 1000).value_or(""),
            expert_.bytes.substr(1000));
  EXPECT_EQ(
      Download(*owner_->stubs, name, static_cast<int64_t>(expert_.bytes.size()))
          .value_or("x"),
      "");
  EXPECT_TRUE(absl::IsOutOfRange(Download(*owner_->stubs, name, -1).status()));
}

}  // namespace
}  // namespace tributary::coordinator
