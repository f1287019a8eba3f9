#include "common/crypto/dsse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tributary::crypto {
namespace {

using testing::HasSubstr;

// The example of the protocol's own text.
TEST(Dsse, EncodesWhatIsSigned) {
  EXPECT_EQ(
      PreAuthenticationEncoding("http://example.com/HelloWorld", "hello world"),
      "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
  EXPECT_EQ(PreAuthenticationEncoding("", ""), "DSSEv1 0  0 ");
}

TEST(Dsse, GoesThroughJsonAndVerifies) {
  const PrivateKey key = *PrivateKey::Generate();
  const StatusOr<Envelope> envelope = SignEnvelope("type", "payload", key);
  ASSERT_TRUE(envelope.ok()) << envelope.status();
  const StatusOr<Envelope> again = Envelope::FromJson(envelope->ToJson());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->payload, "payload");
  EXPECT_EQ(again->ToJson(), envelope->ToJson());
  EXPECT_TRUE(VerifyEnvelope(*again, key.public_key()).ok());

  Envelope changed = *again;
  changed.payload = "Payload";
  EXPECT_TRUE(
      absl::IsUnauthenticated(VerifyEnvelope(changed, key.public_key())));
  changed = *again;
  changed.payload_type = "typ";
  EXPECT_TRUE(
      absl::IsUnauthenticated(VerifyEnvelope(changed, key.public_key())));
}

TEST(Dsse, NeedsTheKeyThatIsAskedFor) {
  const PrivateKey key = *PrivateKey::Generate();
  const PrivateKey other = *PrivateKey::Generate();
  Envelope envelope = *SignEnvelope("type", "payload", key);
  const Status missing = VerifyEnvelope(envelope, other.public_key());
  EXPECT_TRUE(absl::IsUnauthenticated(missing));
  EXPECT_THAT(std::string(missing.message()),
              HasSubstr(other.public_key().key_id()));
  // A key id is only a hint: claiming another does not help.
  envelope.signatures[0].key_id = other.public_key().key_id();
  EXPECT_TRUE(
      absl::IsUnauthenticated(VerifyEnvelope(envelope, other.public_key())));
  // The right one of several is found.
  envelope.signatures.push_back(
      SignEnvelope("type", "payload", key)->signatures[0]);
  EXPECT_TRUE(VerifyEnvelope(envelope, key.public_key()).ok());
}

TEST(Dsse, HasOneSpelling) {
  const Envelope envelope{.payload_type = "type",
                          .payload = "payload",
                          .signatures = {{.key_id = "id", .bytes = "sig"}}};
  EXPECT_EQ(envelope.ToJson(),
            R"({"payload":"cGF5bG9hZA==","payloadType":"type",)"
            R"("signatures":[{"keyid":"id","sig":"c2ln"}]})");
}

TEST(Dsse, NamesTheFieldThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "not valid JSON"},
      {"[]", "wanted an object"},
      {R"({"payload":"","payloadType":"t"})", "\"signatures\" is missing"},
      {R"({"payload":"","payloadType":"t","signatures":[]})", "signatures"},
      {R"({"payload":"","payloadType":"","signatures":[]})", "payloadType"},
      {R"({"payload":1,"payloadType":"t","signatures":[]})", "payload: got"},
      {R"({"payload":"A","payloadType":"t","signatures":[]})",
       "payload: base64"},
      {R"({"payload":"","payloadType":"t","signatures":[{"keyid":"k"}]})",
       "signatures[0]: field \"sig\" is missing"},
      {R"({"payload":"","payloadType":"t","signatures":[7]})",
       "signatures[0]: got number"},
      {R"({"payload":"","payloadType":"t","signatures":[],"x":1})",
       "unknown field \"x\""},
      {R"({"payload":"","payload":"","payloadType":"t","signatures":[]})",
       "occurs twice"},
      {R"({"payload":"","payl\u006fad":"","payloadType":"t","signatures":[]})",
       "occurs twice"},
      {R"([[[[[[]]]]]])", "deeper than 4"},
  };
  for (const auto& [json, message] : cases) {
    const Status status = Envelope::FromJson(json).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << json;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << json;
  }
  EXPECT_THAT(
      std::string(
          Envelope::FromJson(std::string(100, ' '), 99).status().message()),
      HasSubstr("at most 99"));
}

}  // namespace
}  // namespace tributary::crypto
