/* TestU01's batteries on 32-bit little-endian words from standard input.
 *
 *     testu01 small|crush|big forward|reversed
 *
 * "reversed" reverses the bits of each word: most tests look at the first bits only.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <TestU01.h>

static int is_reversed;

static uint32_t reverse(uint32_t word) {
  word = (word >> 1 & 0x55555555) | (word & 0x55555555) << 1;
  word = (word >> 2 & 0x33333333) | (word & 0x33333333) << 2;
  word = (word >> 4 & 0x0F0F0F0F) | (word & 0x0F0F0F0F) << 4;
  word = (word >> 8 & 0x00FF00FF) | (word & 0x00FF00FF) << 8;
  return word >> 16 | word << 16;
}

static unsigned int next(void) {
  unsigned char bytes[4];
  if (fread(bytes, 1, 4, stdin) != 4) {
    fputs("testu01: standard input ended\n", stderr);
    exit(2);
  }
  uint32_t word = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
  return is_reversed ? reverse(word) : word;
}

int main(int count, char **arguments) {
  if (count != 3) {
    fputs("testu01 small|crush|big forward|reversed\n", stderr);
    return 2;
  }
  is_reversed = !strcmp(arguments[2], "reversed");
  swrite_Basic = FALSE;
  unif01_Gen *generator = unif01_CreateExternGenBits("words", next);
  if (!strcmp(arguments[1], "small"))
    bbattery_SmallCrush(generator);
  else if (!strcmp(arguments[1], "crush"))
    bbattery_Crush(generator);
  else
    bbattery_BigCrush(generator);
  unif01_DeleteExternGenBits(generator);
  return 0;
}
