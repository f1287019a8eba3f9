#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "common/base/random.h"
#include "common/rpc/blob_stream.h"
#include "common/rpc/channel.h"
#include "tests/coordinator/service/contribution_fixture.h"

namespace tributary::coordinator {
namespace {

using testing::HasSubstr;

// Streams that stay open while something else happens.
class StreamTest : public ContributionTest {
 protected:
  // A Write stream with its first bytes on their way.
  struct OpenUpload {
    grpc::ClientContext context;
    v1::WriteResponse response;
    std::unique_ptr<grpc::ClientWriter<v1::WriteRequest>> writer;
    Status Finish() { return rpc::FromGrpcStatus(writer->Finish()); }
  };

  void CreateContribution(const std::string& id) {
    auto expert = federation_->MakeExpert(*alice_, id, 1);
    ASSERT_TRUE(expert.ok()) << expert.status();
    expert_ = *std::move(expert);
    const auto created = Create(*alice_, expert_.envelope_json, RandomUuid());
    ASSERT_TRUE(created.ok()) << created.status();
  }

  v1::WriteRequest Message(const std::string& id, size_t offset, size_t size) {
    v1::WriteRequest message;
    message.set_resource_name(expert_.manifest.blob.ToString());
    message.set_contribution("contributions/" + id);
    message.set_write_offset(static_cast<int64_t>(offset));
    message.set_data(expert_.bytes.substr(offset, size));
    return message;
  }

  std::unique_ptr<OpenUpload> Begin(const std::string& id) {
    auto upload = std::make_unique<OpenUpload>();
    SetStreamDeadline(upload->context);
    upload->writer =
        alice_->stubs->blobs->Write(&upload->context, &upload->response);
    upload->writer->Write(Message(id, 0, 500));
    return upload;
  }

  int64_t Committed(const std::string& id) {
    v1::QueryWriteStatusRequest request;
    request.set_resource_name(expert_.manifest.blob.ToString());
    request.set_contribution("contributions/" + id);
    const auto status = Call<v1::QueryWriteStatusResponse>(
        *alice_->stubs->blobs, &v1::BlobService::Stub::QueryWriteStatus,
        request);
    return status.ok() ? status->committed_size() : -1;
  }

  // Until the server has taken the upload up.
  void WaitForUpload(const std::string& id) {
    while (Committed(id) < 0) {
      std::this_thread::yield();
    }
  }

  Status Revoke(const std::string& id) {
    v1::RevokeContributorRequest request;
    request.set_request_id(RandomUuid());
    request.set_name("contributors/" + id);
    return Call<v1::Contributor>(*federation_->operator_stubs().admin,
                                 &v1::AdminService::Stub::RevokeContributor,
                                 request)
        .status();
  }

  TestExpert expert_;
};

TEST_F(StreamTest, AStreamWithoutAByteForTenMinutesEndsAndKeepsWhatItHad) {
  CreateContribution("exp");
  const auto upload = Begin("exp");
  WaitForUpload("exp");
  federation_->clock().Advance(rpc::kIdleStreamSeconds - 5);
  federation_->server().EndIdleStreams();
  // It lives: the next bytes are taken.
  ASSERT_TRUE(upload->writer->Write(Message("exp", 500, 500)));
  Status status;
  std::atomic<bool> ended{false};
  std::thread ends([&] {
    status = upload->Finish();
    ended = true;
  });
  while (!ended) {
    // Again and again: those bytes may arrive after the clock has moved. Not
    // too often: what is committed is kept for a week of this clock.
    federation_->clock().Advance(rpc::kIdleStreamSeconds + 5);
    federation_->server().EndIdleStreams();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ends.join();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_GE(Committed("exp"), 500);
}

TEST_F(StreamTest, OneIdentityMayHaveSoManyStreams) {
  Settings settings;
  settings.server.max_streams = 1;
  Start(settings);
  CreateContribution("one");
  const TestExpert first = expert_;
  const auto upload = Begin("one");
  WaitForUpload("one");
  CreateContribution("two");
  const auto second = Begin("two");
  const Status status = second->Finish();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(rpc::HasReason(status, rpc::kTooManyStreams));
  expert_ = first;
  upload->writer->WritesDone();
  EXPECT_TRUE(upload->Finish().ok());
  EXPECT_EQ(Committed("one"), 500);
}

TEST_F(StreamTest, RevocationEndsUploadsAndWatchesThatRun) {
  CreateContribution("exp");
  const auto upload = Begin("exp");
  WaitForUpload("exp");
  v1::WatchContributionRequest request;
  request.set_name("contributions/exp");
  grpc::ClientContext context;
  const auto watch =
      alice_->stubs->contributions->WatchContribution(&context, request);
  v1::Contribution seen;
  ASSERT_TRUE(watch->Read(&seen));
  ASSERT_TRUE(Revoke("alice").ok());
  EXPECT_TRUE(absl::IsPermissionDenied(upload->Finish()));
  while (watch->Read(&seen)) {
  }
  EXPECT_TRUE(absl::IsPermissionDenied(rpc::FromGrpcStatus(watch->Finish())));
}

TEST_F(StreamTest, DrainingMakesOpenUploadsDurable) {
  CreateContribution("exp");
  const auto upload = Begin("exp");
  WaitForUpload("exp");
  federation_->Stop();
  EXPECT_TRUE(absl::IsUnavailable(upload->Finish()));
  ASSERT_TRUE(federation_->Restart().ok());
  alice_->stubs = federation_->Connect(alice_->identity);
  EXPECT_EQ(Committed("exp"), 500);
}

TEST_F(StreamTest, OfManyStreamsForOneUploadTheNewestWins) {
  CreateContribution("exp");
  std::vector<std::unique_ptr<OpenUpload>> uploads;
  std::vector<std::thread> ends;
  std::atomic<size_t> ended{0};
  std::atomic<size_t> refused{0};
  constexpr size_t kUploads = 8;
  for (size_t i = 0; i < kUploads; ++i) {
    uploads.push_back(Begin("exp"));
    ends.emplace_back([&ended, &refused, upload = uploads.back().get()] {
      refused += upload->Finish().ok() ? 0 : 1;
      ++ended;
    });
  }
  // The newest one ends all others and hears where to go on. The first message
  // of one of those above may come to its turn after that of a newer stream,
  // and counts as the newest then: until all have ended there is one more.
  Status last;
  while (ended < kUploads || !rpc::HasReason(last, rpc::kWriteOffsetMismatch)) {
    last = Upload(*alice_->stubs, "contributions/exp", expert_.manifest.blob,
                  expert_.bytes, {.offset = expert_.bytes.size()})
               .status();
    EXPECT_TRUE(absl::IsAborted(last)) << last;
  }
  for (std::thread& end : ends) {
    end.join();
  }
  EXPECT_EQ(refused, kUploads);
  const auto info = rpc::GetErrorInfo(last);
  const auto offset = static_cast<size_t>(
      std::stoll(info->metadata.at(rpc::kCommittedSizeKey)));
  EXPECT_TRUE(Upload(*alice_->stubs, "contributions/exp", expert_.manifest.blob,
                     expert_.bytes, {.offset = offset})
                  .ok());
}

TEST_F(StreamTest, WhatIsNoMessageIsRefused) {
  for (const auto& [identity, code] :
       {std::pair(alice_->identity, absl::StatusCode::kInvalidArgument),
        std::pair(federation_->anonymous(),
                  absl::StatusCode::kUnauthenticated)}) {
    grpc::GenericStub stub(
        rpc::CreateChannel(federation_->address(), identity));
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto wait = [&] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    const auto call =
        stub.PrepareCall(&context, "/tributary.v1.BlobService/Write", &queue);
    call->StartCall(nullptr);
    wait();
    const grpc::Slice slice("\x2a\xff\xff\xff\x7f");
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    wait();
    grpc::Status status;
    call->Finish(&status, nullptr);
    wait();
    EXPECT_EQ(rpc::FromGrpcStatus(status).code(), code)
        << status.error_message();
    queue.Shutdown();
  }
}

TEST_F(StreamTest, EveryCallIsCounted) {
  CreateContribution("exp");
  const auto upload = Begin("exp");
  WaitForUpload("exp");
  EXPECT_THAT(federation_->server().MetricsText(),
              HasSubstr("tributary_open_streams{kind=\"upload\"} 1"));
  upload->writer->WritesDone();
  ASSERT_TRUE(upload->Finish().ok());
  const std::string text = federation_->server().MetricsText();
  for (const char* line :
       {"tributary_rpc_total{code=\"OK\",method=\"BlobService.Write\"} 1",
        "tributary_rpc_seconds_count{method=\"BlobService.Write\"} 1",
        "tributary_blob_bytes_total{direction=\"received\"} 500",
        "tributary_contributions{state=\"UPLOADING\"} 1",
        "tributary_disk_free_bytes", "tributary_jobs 0",
        "tributary_certificate_expire_time_seconds{certificate=\"server\"} 1",
        "tributary_certificate_expire_time_seconds{certificate=\"ca\"} 2"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, testing::Not(HasSubstr("alice")));
}

}  // namespace
}  // namespace tributary::coordinator
