import { InvalidArgumentError } from 'commander';

const unitBytes: Record<string, number> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

/** 4096, 512K, 64M, 2G. */
export function byteCount(text: string): number {
  const parts = /^(\d+)([KMGT]?)$/i.exec(text);
  const unit = unitBytes[(parts?.[2] ?? '').toUpperCase()];
  if (parts === null || unit === undefined) throw new InvalidArgumentError('bytes, for example 4096, 512K, 64M or 2G');
  return Number(parts[1]) * unit;
}

export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('a whole number');
  return Number(text);
}

export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0 || text.trim() === '') throw new InvalidArgumentError('a number from 0 up');
  return value;
}

export function fraction(text: string): number {
  const value = positiveNumber(text);
  if (value > 1) throw new InvalidArgumentError('a number from 0 to 1');
  return value;
}
