#include "common/manifest/invitation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/crypto/certificate_authority.h"
#include "tests/common/crypto/test_clock.h"
#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

using testing::HasSubstr;
using testing::Not;

class InvitationTest : public testing::Test {
 protected:
  InvitationTest() {
    const auto ca = *crypto::CertificateAuthority::CreateSelfSigned(
        "federation", 3650 * crypto::kDaySeconds, TestClock());
    invitation_ = {.federation = "federation",
                   .contributor_id = "site-a",
                   .address = "localhost:8443",
                   .secret = std::string(32, '\x5a'),
                   .expire_time_s = 1'930'000'000,
                   .ca_certificate_pem = ca.certificate().ToPem(),
                   .ca_fingerprint = ca.certificate().fingerprint()};
  }
  Invitation invitation_;
};

TEST_F(InvitationTest, GoesThroughItsFile) {
  const StatusOr<std::string> json = invitation_.ToJson();
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_THAT(*json, HasSubstr("\"type\": \"tributary-invitation/v1\""));
  EXPECT_THAT(*json, HasSubstr("\"expire_time\": \"2031-02-27T23:06:40Z\""));
  const StatusOr<Invitation> again = Invitation::FromJson(*json);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->federation, invitation_.federation);
  EXPECT_EQ(again->contributor_id, invitation_.contributor_id);
  EXPECT_EQ(again->address, invitation_.address);
  EXPECT_EQ(again->secret, invitation_.secret);
  EXPECT_EQ(again->expire_time_s, invitation_.expire_time_s);
  EXPECT_EQ(again->ca_certificate_pem, invitation_.ca_certificate_pem);
  EXPECT_EQ(again->ca_fingerprint, invitation_.ca_fingerprint);
}

TEST_F(InvitationTest, NamesTheFieldThatIsWrong) {
  const std::string json = *invitation_.ToJson();
  const BadEdit edits[] = {
      {"/type", "\"x\"", "invitation: type: got \"x\""},
      {"/extra", "1", "invitation: extra: unknown field"},
      {"/address", "\"localhost\"", "address: got \"localhost\""},
      {"/address", "\"localhost:0\"", "wanted host:port"},
      {"/address", "\"localhost:65536\"", "wanted host:port"},
      {"/address", "\":1\"", "wanted host:port"},
      {"/address", "\"::1:1\"", "wanted host:port"},
      {"/secret", "\"5a\"", "secret: wanted 64 hexadecimal digits"},
      {"/secret", "3", "secret: got 3, wanted a string"},
      {"/expire_time_s", "1", "expire_time: got"},
      {"/expire_time_s", "-1", "expire_time_s: got -1"},
      {"/ca_certificate_pem", "\"x\"", "ca_certificate_pem: certificate"},
      {"/ca_fingerprint", "\"sha256:00\"", "ca_fingerprint: got"},
      {"/contributor_id", "", "contributor_id: the field is missing"},
  };
  for (const BadEdit& edit : edits) {
    const Status status =
        Invitation::FromJson(Edit(json, edit.pointer, edit.value_json))
            .status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << edit.pointer;
    EXPECT_THAT(std::string(status.message()), HasSubstr(edit.message));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("5a5a")));
  }
  invitation_.address = "[::1]:8443";
  EXPECT_TRUE(invitation_.ToJson().ok());
}

}  // namespace
}  // namespace tributary::manifest
