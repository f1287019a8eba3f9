#include "coordinator/service/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "common/base/random.h"
#include "common/rpc/channel.h"
#include "coordinator/service/paging.h"
#include "coordinator/service/request_once.h"
#include "tests/coordinator/service/test_federation.h"

namespace tributary::coordinator {
namespace {

using testing::HasSubstr;

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto federation = TestFederation::Create();
    ASSERT_TRUE(federation.ok()) << federation.status();
    federation_ = *std::move(federation);
  }

  StatusOr<std::unique_ptr<Server>> StartAnother(
      const std::filesystem::path& home, const std::string& listen) {
    Settings settings = federation_->settings();
    settings.listen_address = listen;
    return Server::Start({.home = home, .settings = settings},
                         std::make_unique<FakeTaskRunner>(script_));
  }

  WorkerScript script_;
  std::unique_ptr<TestFederation> federation_;
};

TEST_F(ServerTest, OneServerPerHome) {
  const auto second = StartAnother(federation_->home().root(), "127.0.0.1:0");
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("another coordinator process"));
}

TEST_F(ServerTest, TakenPortsAndMissingHomesAreSaid) {
  const auto copy = federation_->path() / "copy";
  std::filesystem::copy(federation_->home().root(), copy,
                        std::filesystem::copy_options::recursive);
  const Status taken = StartAnother(copy, federation_->address()).status();
  EXPECT_TRUE(absl::IsUnavailable(taken)) << taken;
  EXPECT_THAT(std::string(taken.message()), HasSubstr(federation_->address()));
  ASSERT_TRUE(MakeDirectories(federation_->path() / "empty").ok());
  EXPECT_TRUE(absl::IsNotFound(
      StartAnother(federation_->path() / "empty", "127.0.0.1:0").status()));
}

TEST_F(ServerTest, TheAddressFileIsThereWhileItServes) {
  const auto file = federation_->home().address();
  EXPECT_EQ(*ReadFile(file), federation_->address() + "\n");
  federation_->Stop();
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(ServerTest, HealthIsServedWithoutACertificate) {
  grpc::GenericStub stub(
      rpc::CreateChannel(federation_->address(), federation_->anonymous()));
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::ByteBuffer response;
  grpc::Status status;
  grpc::Slice empty;
  const grpc::ByteBuffer body(&empty, 1);
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                    body, &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(status.ok()) << status.error_message();
  grpc::Slice slice;
  ASSERT_TRUE(response.DumpToSingleSlice(&slice).ok());
  // HealthCheckResponse{status: SERVING}
  EXPECT_EQ(std::string(slice.begin(), slice.end()), "\x08\x01");
}

TEST_F(ServerTest, JobsOnTheirThreadRunAndSurviveRestarts) {
  Settings settings;
  settings.releases.build_on_accept = true;
  auto federation =
      TestFederation::Create(settings, Server::Options::Jobs::kThread);
  ASSERT_TRUE(federation.ok()) << federation.status();
  ASSERT_TRUE((*federation)->PublishAnchor().ok());
  auto owner = (*federation)->Enrol("alice");
  ASSERT_TRUE(owner.ok());
  // The first worker only ends when the server drains.
  std::atomic<bool> started = false;
  (*federation)->script().validate = [&](const job::ValidateExpert&,
                                         const CancellationToken& cancellation)
      -> StatusOr<job::ValidateExpertResult> {
    started = true;
    while (!cancellation.IsCancelled()) {
      std::this_thread::yield();
    }
    return cancellation.Check();
  };
  const auto expert = (*federation)->MakeExpert(*owner, "exp", 1);
  ASSERT_TRUE((*federation)->Contribute(*owner, *expert).ok());
  while (!started) {
    std::this_thread::yield();
  }
  (*federation)->Stop();
  (*federation)->script().validate = nullptr;
  ASSERT_TRUE((*federation)->Restart().ok());
  owner->stubs = (*federation)->Connect(owner->identity);
  v1::WatchContributionRequest request;
  request.set_name("contributions/exp");
  grpc::ClientContext context;
  const auto reader =
      owner->stubs->contributions->WatchContribution(&context, request);
  v1::Contribution seen;
  while (seen.state() != v1::Contribution::ACCEPTED && reader->Read(&seen)) {
  }
  EXPECT_EQ(seen.state(), v1::Contribution::ACCEPTED);
  context.TryCancel();
  StatusOr<v1::Release> release =
      (*federation)->GetRelease(*owner, "releases/latest");
  while (absl::IsNotFound(release.status())) {
    std::this_thread::yield();
    release = (*federation)->GetRelease(*owner, "releases/latest");
  }
  ASSERT_TRUE(release.ok()) << release.status();
  EXPECT_EQ(release->name(), "releases/1");
}

TEST(RequestIdTest, OnlyUuids) {
  EXPECT_TRUE(CheckRequestId(RandomUuid()).ok());
  for (const char* id : {"", "x", "123e4567-e89b-12d3-a456-42661417400",
                         "123E4567-e89b-12d3-a456-426614174000",
                         "123e4567ee89b-12d3-a456-426614174000"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckRequestId(id))) << id;
  }
}

TEST(PagingTest, TokensAreBoundToTheirList) {
  const std::string token = NextPageToken("releases", "17");
  EXPECT_EQ(ParsePage(0, token, "releases")->Before().value_or(0), 17);
  EXPECT_EQ(ParsePage(0, "", "releases")->size, 50);
  EXPECT_EQ(ParsePage(5000, "", "releases")->size, 1000);
  for (const auto& [size, bad, list] :
       {std::tuple(0, token, "anchors"), std::tuple(0, token + "x", "releases"),
        std::tuple(-1, std::string(), "releases")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParsePage(size, bad, list).status()));
  }
}

TEST(AddressTest, HostsOfAddresses) {
  EXPECT_EQ(HostOf("127.0.0.1:80"), "127.0.0.1");
  EXPECT_EQ(HostOf("[::1]:80"), "::1");
  EXPECT_TRUE(IsWildcard(HostOf("0.0.0.0:0")));
  EXPECT_TRUE(IsWildcard(HostOf("[::]:0")));
  EXPECT_FALSE(IsWildcard("localhost"));
}

}  // namespace
}  // namespace tributary::coordinator
