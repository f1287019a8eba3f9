// Two threads that write one number: races.py has to find it.

#include <cstdio>
#include <thread>

int main() {
  int number = 0;
  std::thread other([&] { number = 1; });
  number = 2;
  other.join();
  std::printf("%d\n", number);
}
