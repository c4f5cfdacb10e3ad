/**
 * The first sectors of a disk that boots: the boot sector prints a greeting, reads sector 1 by the BIOS and prints the text that
 * it finds there, each to the screen and to the first serial port. x86 real mode; Intel SDM volume 2 for the opcodes.
 */
export function bootSectors(greeting: string, text: string): Buffer {
  const code: number[] = [];
  const emit = (...bytes: number[]): number => code.push(...bytes);
  const word = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff];
  const [origin, second] = [0x7c00, 0x7e00];
  const printAt = 48;
  const messageAt = printAt + 20;
  const callPrint = (): number => emit(0xe8, ...word(printAt - (code.length + 3)));
  emit(0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, ...word(origin), 0xfb); // cli; segments = 0; sp; sti
  emit(0x52, 0xbe, ...word(origin + messageAt)); // push dx; mov si, greeting
  callPrint();
  emit(0x5a, 0xb8, ...word(0x0201), 0xb9, ...word(2), 0xb6, 0, 0xbb, ...word(second), 0xcd, 0x13); // read sector 2 of track 0
  emit(0x72, 6, 0xbe, ...word(second)); // jc halt; mov si, what was read
  callPrint();
  emit(0xfa, 0xf4, 0xeb, 0xfc); // halt: cli; hlt; jmp halt
  while (code.length < printAt) emit(0x90);
  emit(0xac, 0x08, 0xc0, 0x74, 14, 0x50, 0xb4, 0x0e, 0x31, 0xdb, 0xcd, 0x10, 0x58); // lodsb; or al, al; jz done; teletype
  emit(0xba, ...word(0x03f8), 0xee, 0xeb, 256 - 19, 0xc3); // out to COM1; jmp print; done: ret
  const sectors = Buffer.alloc(1024);
  Buffer.from(code).copy(sectors);
  sectors.write(`${greeting}\r\n\0`, messageAt, 'latin1');
  sectors.writeUInt16LE(0xaa55, 510);
  sectors.write(`${text}\r\n\0`, 512, 'latin1');
  return sectors;
}
