// What newer C and C++ libraries have as functions and older ones do not, so that the module loads where glibc is 2.28 and
// libstdc++ is that of GCC 8.
#include <exception>
#include <new>
#include <sstream>
#include <string>
#include <string_view>

#include <sys/syscall.h>
#include <unistd.h>

#define OWN extern "C" __attribute__((visibility("hidden")))

// glibc 2.33: before it, these were parts of each program.
extern "C" int __xstat64(int version, const char* path, void* facts);
extern "C" int __lxstat64(int version, const char* path, void* facts);
extern "C" int __fxstat64(int version, int file, void* facts);
constexpr int kVersion = 1;
OWN int stat64(const char* path, void* facts) { return __xstat64(kVersion, path, facts); }
OWN int lstat64(const char* path, void* facts) { return __lxstat64(kVersion, path, facts); }
OWN int fstat64(int file, void* facts) { return __fxstat64(kVersion, file, facts); }

// glibc 2.30 and 2.32.
OWN pid_t gettid() { return static_cast<pid_t>(syscall(SYS_gettid)); }
OWN char __libc_single_threaded;
char __libc_single_threaded = 0;  // Python programs have threads.

// GCC 11.
namespace std {
void __throw_bad_array_new_length() { throw bad_array_new_length(); }
}  // namespace std

// GCC 12: parts of copying and destroying an exception_ptr, which older libraries have as a whole.
__asm__(".symver whole_copy, _ZNSt15__exception_ptr13exception_ptrC1ERKS0_@CXXABI_1.3.3");
__asm__(".symver whole_end, _ZNSt15__exception_ptr13exception_ptrD1Ev@CXXABI_1.3.3");
extern "C" void whole_copy(void* to, const void* from);
extern "C" void whole_end(void* of);
namespace std::__exception_ptr {
void exception_ptr::_M_addref() noexcept {
  alignas(exception_ptr) char kept[sizeof(exception_ptr)];
  whole_copy(kept, this);
}
void exception_ptr::_M_release() noexcept {
  whole_end(this);
  _M_exception_object = nullptr;
}
}  // namespace std::__exception_ptr

// GCC 9: functions of class templates, which become part of the module.
template std::basic_ostringstream<char>::basic_ostringstream();
template std::string::operator std::string_view() const;
