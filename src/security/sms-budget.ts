import type { Config } from '../config.ts'
import type { BudgetRule } from '../store/challenges.ts'

/** Texts to one phone in any 24 hours, over all accounts, whether they led to a sign-in or not. */
export const perPhoneDayTotal = 30

/**
 * The budgets that one text is charged to (SEC-31). All but the last are given back by a success: they count texts
 * that led nowhere. A number prefix is the number less its last 4 digits: blocks of numbers are what toll fraud rents.
 */
export function budgetRules(
  limits: Config['sms'],
  text: { userId: string; phone: string; address: string },
): BudgetRule[] {
  const personal = { cooldown: limits.cooldown, hour: limits.perUserHour, day: limits.perUserDay, refundable: true }
  return [
    { key: `user:${text.userId}`, ...personal },
    { key: `phone:${text.phone}`, ...personal },
    { key: `address:${text.address}`, hour: limits.perAddressHour, day: limits.perAddressDay, refundable: true },
    { key: `prefix:${text.phone.slice(0, -4)}`, hour: limits.perPrefixHour, refundable: true },
    { key: `phone-total:${text.phone}`, day: perPhoneDayTotal, refundable: false },
  ]
}

/** What the whole service may send in one UTC hour and day. */
export function budgetTotals(limits: Config['sms']): { period: 'hour' | 'day'; max: number }[] {
  return [
    { period: 'hour', max: limits.globalHour },
    { period: 'day', max: limits.globalDay },
  ]
}
