import type { Config } from '../config.ts'
import type { TextBudget } from '../store/candidates.ts'
import { networksOf } from './client-address.ts'

/** Texts to one phone in any 24 hours, over all accounts, whether they led to a sign-in or not. */
const perPhoneDay = 30

/**
 * The budgets that one text is counted by (SEC-31, SEC-106). All but the phone's day and the service's spend count only
 * texts that led nowhere. A number prefix is the number less its last 4 digits: blocks of numbers are what toll fraud rents.
 */
export function textBudget(limits: Config['sms'], address: string): TextBudget {
  const [{ times }] = networksOf(address)
  return {
    address,
    cooldown: limits.cooldown,
    user_hour: limits.perUserHour,
    user_day: limits.perUserDay,
    phone_day: perPhoneDay,
    address_hour: limits.perAddressHour * times,
    address_day: limits.perAddressDay * times,
    prefix_hour: limits.perPrefixHour,
    service_hour: limits.globalHour,
    service_day: limits.globalDay,
    spend_day: limits.spendDay,
  }
}
