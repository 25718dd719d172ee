#include "drop/base/sha256.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// FIPS 180-2, appendix B, and the empty message
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kTwoBlocks =
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
constexpr const char* kMillion = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, GivesThePublishedVectors) {
  EXPECT_EQ(sha256_hex({}), kEmpty);
  EXPECT_EQ(sha256_hex(bytes_of("abc")), kAbc);
  EXPECT_EQ(sha256_hex(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            kTwoBlocks);
  EXPECT_EQ(sha256_hex(bytes_of(std::string(1000000, 'a'))), kMillion);
}

TEST(Sha256, PiecesMakeTheSameDigest) {
  const std::string text(1000000, 'a');
  Sha256 digest;
  // pieces of 0, 1, 2, ... bytes cross every block boundary
  size_t done = 0;
  for (size_t size = 0; done < text.size(); ++size) {
    const size_t piece = std::min(size, text.size() - done);
    digest.update(bytes_of(text).subspan(done, piece));
    done += piece;
  }
  EXPECT_EQ(digest.finish(), kMillion);
}

TEST(Sha256, OfAFileIsOfItsBytes) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("data");
  write_file_atomically(path, std::string_view(""));
  EXPECT_EQ(sha256_of_file(path), kEmpty);
  write_file_atomically(path, std::string_view("abc"));
  EXPECT_EQ(sha256_of_file(path), kAbc);
  // larger than a read buffer, and not a multiple of it
  const std::string large(3 * (1 << 20) + 17, 'x');
  write_file_atomically(path, large);
  EXPECT_EQ(sha256_of_file(path), sha256_hex(bytes_of(large)));
}

TEST(Sha256, RefusesWhatIsNoReadableFile) {
  const testing::TemporaryFolder folder;
  for (const std::string& path : {folder.file("missing"), folder.path().string()}) {
    try {
      sha256_of_file(path);
      FAIL() << path;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(path));
    }
  }
}

}  // namespace
}  // namespace drop
