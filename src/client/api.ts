// Made from openapi.yaml by `npm run client:types`.

export interface paths {
  "/login": {
    /**
     * First step: e-mail and password
     * @description Asks for the best second factor that the account has, and returns a pending token; or the tokens at once where none is asked; or, where one has to be set up first, a token for that. An unknown e-mail, a wrong password and a disabled account are not to be told apart.
     */
    post: operations["startLogin"];
  };
  "/login/passkey": {
    /**
     * Sign in with a passkey alone
     * @description What any passkey of this service can answer, at `POST /login/2fa`: it stands for both factors, so it has to verify its user. Nothing is stored before that succeeds, once for each start.
     */
    post: operations["startPasskeyLogin"];
  };
  "/login/2fa": {
    /**
     * How the login stands
     * @description Delivery of what was sent, the time and tries that are left, and in an enrolment its `setup` again.
     */
    get: operations["readChallenge"];
    /**
     * Second step: the code or the passkey
     * @description Exchanges the pending token and a proof for an access token. A login takes five answers, over all methods, and one success. After the proof of a mailbox the answer is a token to set up the first factor with.
     */
    post: operations["finishLogin"];
  };
  "/login/2fa/resend": {
    /**
     * Send the code again
     * @description Sends the same code again: at most three times in all per login and method. Tries that were used stay used.
     */
    post: operations["resendCode"];
  };
  "/login/2fa/method": {
    /**
     * Go on with another method
     * @description One of `methods`, in the same login, with the tries that are left. Sends what is to be sent; a code that was sent before stays good.
     */
    post: operations["switchMethod"];
  };
  "/login/step-up": {
    /**
     * A fresh proof for a session that needs more
     * @description For a signed-in user whose token is too old or too weak for a call (RFC 9470). Finishing it at `POST /login/2fa` gives the same session a new `auth_time` and `aal2`. An account without a second factor sends its password.
     */
    post: operations["stepUp"];
  };
  "/factors": {
    /**
     * What the user has, and what can be set up
     * @description The second factors of the signed-in user, the oldest first, without anything secret.
     */
    get: operations["listFactors"];
    /**
     * Set up a second factor
     * @description Begins an enrolment: `challenge.setup` is what the new factor needs, and its first proof at `POST /login/2fa` makes it count; one of the same method is replaced then (passkeys: added). Called with the token of `2fa_enrolment_required`, or by a session that is fresh. A session of an account without a factor first gets a code by mail, whose proof answers `2fa_enrolment_required`. `recovery_code`: ten new codes at once; the old ones are dead.
     */
    post: operations["enrolFactor"];
  };
  "/factors/{id}": {
    /**
     * Remove a factor
     * @description Wants a fresh session, which stays; the others end, and so does the trust in devices. The last of passkey, totp and sms takes the recovery codes along.
     */
    delete: operations["removeFactor"];
    /**
     * Name a factor anew
     * @description How its owner will know it again.
     */
    patch: operations["renameFactor"];
  };
  "/token/refresh": {
    /**
     * New tokens for a refresh token
     * @description Each refresh token works once. For 30 seconds after that it is answered with the same successor, so that two tabs and a lost reply are harmless; later than that it is taken for stolen, and the session ends.
     */
    post: operations["refreshSession"];
  };
  "/logout": {
    /**
     * End sessions
     * @description Ends this session, the others, or all. Here their access tokens are refused at once. Others than this one want a fresh sign-in.
     */
    post: operations["logout"];
  };
  "/sessions": {
    /**
     * Where the user is signed in
     * @description The live sessions, the one used last first.
     */
    get: operations["listSessions"];
  };
  "/sessions/{id}": {
    /**
     * End one session
     * @description Ends a session of the signed-in user. Another than this one wants a fresh sign-in.
     */
    delete: operations["endSession"];
  };
  "/token/introspect": {
    /**
     * Whether an access token is alive at this moment
     * @description For backends (RFC 7662, HTTP Basic). Tells at once about ended sessions and disabled users; verifying offline with the JWKS learns of them when the token runs out. Scope: `introspect`.
     */
    post: operations["introspectToken"];
  };
  "/devices": {
    /**
     * Known devices
     * @description The devices that have signed in to the account before, the one used last first.
     */
    get: operations["listDevices"];
  };
  "/devices/{id}": {
    /**
     * Forget a device
     * @description Its sessions end, and its next login counts as a stranger's. Another than the own one wants a fresh sign-in.
     */
    delete: operations["forgetDevice"];
    /**
     * Name a device, or end its trust
     * @description A device that is trusted no longer is asked for the second factor again; it stays known.
     */
    patch: operations["changeDevice"];
  };
  "/me/password": {
    /**
     * Change the password
     * @description Wants a fresh sign-in. Every session ends, this one too: the answer is a new one of the same level.
     */
    put: operations["changePassword"];
  };
  "/register": {
    /**
     * Ask for an account
     * @description Mails a link by which an account is made, or one to set the password where the address has an account. The answer is the same for every address, and nothing is stored for it before its mailbox is proven.
     */
    post: operations["register"];
  };
  "/password/forgot": {
    /**
     * Ask for a new password
     * @description Mails a link to set it. The answer is the same for every address. The second factor is still asked for.
     */
    post: operations["forgotPassword"];
  };
  "/password/set": {
    /**
     * Set a password by a mailed link
     * @description Makes the account, or replaces its password, and goes on exactly as `POST /login` after a right password. A password that is not good enough leaves the link alive.
     */
    post: operations["setPassword"];
  };
  "/me": {
    /**
     * The signed-in user
     * @description The account and how this session was authenticated.
     */
    get: operations["readMe"];
    /**
     * Leave
     * @description Wants a fresh sign-in. The account is disabled at once and erased later; until then the mail about it can take it back.
     */
    delete: operations["deleteMe"];
    /**
     * Choose the language of mails
     * @description Mails are in English where there is none in that language.
     */
    patch: operations["changeMe"];
  };
  "/me/export": {
    /**
     * Everything that is known of the user
     * @description Wants a fresh sign-in; at most five times in 24 hours. Nothing secret is in it.
     */
    get: operations["exportMe"];
  };
  "/me/email": {
    /**
     * Ask for another e-mail
     * @description Wants a fresh sign-in. Mails a link to the new address and a notice to the old one; the link before it ends. Whether the new address is taken only its mailbox learns.
     */
    put: operations["changeEmail"];
  };
  "/me/email/confirm": {
    /**
     * Confirm the new e-mail
     * @description By the link that was mailed to it, in a session of the same user. Other sessions end.
     */
    post: operations["confirmEmail"];
  };
  "/account/secure": {
    /**
     * “That was not me”
     * @description By the link of a notice: takes back what the sessions of the account have changed since, ends all of them, and has the password set anew by another mail.
     */
    post: operations["secureAccount"];
  };
  "/admin/users/search": {
    /**
     * Find users
     * @description Those that match all filters, the newest first, page by page: users who are made or erased meanwhile shift nothing. In the body, so that nothing personal is in an address. Scope: `users:read`.
     */
    post: operations["searchUsers"];
  };
  "/admin/users": {
    /**
     * Make a user
     * @description Without a password: `invite` mails a link, good for seven days, by which the user sets one. Safe to repeat: a user who is there already, by e-mail or external id, is a `conflict` whose `user_id` names the user. Scope: `users:write`.
     */
    post: operations["createUser"];
  };
  "/admin/users/{id}": {
    /**
     * A user, whole
     * @description With factors, sessions, devices, and until when something is locked. Scope: `users:read`.
     */
    get: operations["readUser"];
    /**
     * Erase a user
     * @description At once, and for good: of events only time and type are kept. Scope: `users:delete`.
     */
    delete: operations["eraseUser"];
    /**
     * Change a user
     * @description What is absent stays as it is. `email`, `two_factor` and `disabled` want the scope `users:security` as well; they end sessions, the trust in devices and logins under way; `email` and `disabled` end links too. A new e-mail is not confirmed, and the old one is told. What is so already is no change. Scope: `users:write`.
     */
    patch: operations["changeUser"];
  };
  "/admin/users/{id}/password-reset": {
    /**
     * Have a new password set
     * @description Mails the user a link; nobody else sees it. To somebody without a password it is an invitation. Said again within a minute or so (`MAIL_COOLDOWN`), nothing more is mailed while the link of that mail lives. Scope: `users:security`.
     */
    post: operations["resetUserPassword"];
  };
  "/admin/users/{id}/unlock": {
    /**
     * End the locks of a user
     * @description Those after wrong passwords and wrong codes, for known devices and for strangers. Scope: `users:security`.
     */
    post: operations["unlockUser"];
  };
  "/admin/users/{id}/factors": {
    /**
     * Take all second factors away
     * @description Recovery codes too, for somebody who has lost them. Sessions end, and the user is told. Where a factor is required, the next login sets one up, behind a code by mail. Scope: `users:security`.
     */
    delete: operations["removeUserFactors"];
  };
  "/admin/users/{id}/factors/{part}": {
    /**
     * Take one second factor away
     * @description Be it the last, with which the recovery codes go. Sessions end, and the user is told. Scope: `users:security`.
     */
    delete: operations["removeUserFactor"];
  };
  "/admin/users/{id}/sessions": {
    /**
     * End all sessions of a user
     * @description Their access tokens are refused here at once; where they are verified offline, when they run out. Scope: `users:security`.
     */
    delete: operations["endUserSessions"];
  };
  "/admin/users/{id}/sessions/{part}": {
    /**
     * End one session of a user
     * @description As above, and the others stay. Scope: `users:security`.
     */
    delete: operations["endUserSession"];
  };
  "/admin/users/{id}/devices": {
    /**
     * Forget all devices of a user
     * @description Their sessions end, and the next login of each counts as a stranger's. Scope: `users:security`.
     */
    delete: operations["forgetUserDevices"];
  };
  "/admin/users/{id}/devices/{part}": {
    /**
     * Forget one device of a user
     * @description Its sessions end, and its next login counts as a stranger's. Scope: `users:security`.
     */
    delete: operations["forgetUserDevice"];
  };
  "/admin/events": {
    /**
     * What happened
     * @description The log of events. Nothing ever comes behind an event that was read: whoever remembers the `id` of the last one and asks for what came `after` it misses none. With a time in its place an event whose time is a moment out of order may be missed: go on with ids. Kept for `EVENT_RETENTION_DAYS`. That a client has read them is recorded once an hour. Scope: `events:read`.
     */
    get: operations["readEvents"];
  };
  "/admin/webhooks": {
    /**
     * All webhooks
     * @description The oldest first, with how it goes with each. Scope: `webhooks:write`.
     */
    get: operations["listWebhooks"];
    /**
     * Be told of changes
     * @description Each event is posted as Standard Webhooks 1.0.0 has it: `{ type, timestamp, data }` with ids and words, signed with the `secret`, at least once, in no promised order. At most ten endpoints. Names are looked up at each try, and addresses of private networks refused. Scope: `webhooks:write`.
     */
    post: operations["createWebhook"];
  };
  "/admin/webhooks/{id}": {
    /**
     * Take a webhook away
     * @description With all that it was still to hear of. Scope: `webhooks:write`.
     */
    delete: operations["deleteWebhook"];
    /**
     * Change, disable or enable a webhook
     * @description What is absent stays as it is. Scope: `webhooks:write`.
     */
    patch: operations["changeWebhook"];
  };
  "/admin/webhooks/{id}/rotate-secret": {
    /**
     * A new secret for a webhook
     * @description Shown this once. The one before signs beside it for 24 hours; asked for again, it takes none away from you. Scope: `webhooks:write`.
     */
    post: operations["rotateWebhookSecret"];
  };
  "/admin/webhooks/{id}/redeliver": {
    /**
     * Be told once more
     * @description Of everything that came after an event or a time, at most 14 days ago. Scope: `webhooks:write`.
     */
    post: operations["redeliverWebhook"];
  };
  "/.well-known/jwks.json": {
    /**
     * Public keys of access tokens
     * @description Cache them for five minutes; fetch again when a token names a key that you do not have.
     */
    get: operations["readJwks"];
  };
  "/.well-known/oauth-authorization-server": {
    /**
     * What this issuer offers
     * @description RFC 8414, only what is true: there is no authorization endpoint, and no grant but our own login.
     */
    get: operations["readMetadata"];
  };
  "/health/live": {
    /**
     * Whether the process answers
     * @description Looks at nothing else: restart the process when this fails.
     */
    get: operations["readLiveness"];
  };
  "/health/ready": {
    /**
     * Whether logins can be served
     * @description Database reachable, writable and migrated, and not shutting down. What is wrong is told at `/health` on METRICS_PORT; so is the state of the SMS provider and of the budget of texts, which does not make it unready: logins without a text go on.
     */
    get: operations["readReadiness"];
  };
  "/problems/{code}": {
    /**
     * What a problem code means
     * @description Explains one problem code: why a client meets it, what to do about it, and what it looks like. A browser gets it as a page.
     */
    get: operations["readProblem"];
  };
  "/webhooks/twilio/status": {
    /**
     * Delivery receipts of Twilio
     * @description Signed with `X-Twilio-Signature` over PUBLIC_URL; anything else is refused before it is read, and so is everything where another provider sends the texts.
     */
    post: operations["recordReceipt"];
  };
  "/dev/sms": {
    /**
     * Texts that were "sent"
     * @description Newest first. Only with the console sender, which production refuses; answered to this machine and to DEVELOPMENT_NETWORKS.
     */
    get: operations["readTexts"];
  };
  "/dev/mail": {
    /**
     * Mails that were "sent"
     * @description Newest first. Only with the console sender, which production refuses; answered to this machine and to DEVELOPMENT_NETWORKS.
     */
    get: operations["readMails"];
  };
}

export type webhooks = Record<string, never>;

export interface components {
  schemas: {
    /** @description RFC 9457. `code` is the stable machine value. */
    Problem: {
      /** Format: uri */
      type: string;
      title: string;
      status: number;
      detail: string;
      /** @description The id of the request; give it when you report a problem. */
      instance: string;
      /** @enum {string} */
      code: "invalid_request" | "invalid_credentials" | "invalid_token" | "insufficient_user_authentication" | "refresh_token_reused" | "insufficient_scope" | "password_reset_required" | "invalid_signature" | "not_found" | "method_not_allowed" | "conflict" | "last_factor" | "code_expired" | "link_expired" | "payload_too_large" | "unsupported_media_type" | "invalid_code" | "invalid_password" | "phone_unreachable" | "phone_not_allowed" | "login_locked" | "code_attempts_exhausted" | "second_factor_locked" | "resend_too_soon" | "sms_limit_reached" | "mail_limit_reached" | "rate_limited" | "internal_error" | "sms_unavailable" | "mail_unavailable" | "busy" | "unavailable";
      /** @description Seconds; also the `Retry-After` header. */
      retry_after?: number;
      attempts_remaining?: number;
      /** @description Of `insufficient_scope`: what the client lacks. */
      scope?: string;
      /**
       * Format: uuid
       * @description Of a `conflict` of clients: the user that is there already.
       */
      user_id?: string;
      errors?: {
          /** @description JSON pointer into the body. */
          pointer: string;
          message: string;
        }[];
    };
    PasskeyChallenge: {
      /** @enum {string} */
      method: "passkey";
      /** @description For `PublicKeyCredential.parseRequestOptionsFromJSON()`. */
      public_key?: {
        rpId: string;
        /** @description 32 bytes in base64url. */
        challenge: string;
        /** @description Milliseconds. */
        timeout: number;
        allowCredentials: {
            /** @enum {string} */
            type: "public-key";
            id: string;
            transports?: string[];
          }[];
        /** @enum {string} */
        userVerification: "required" | "preferred";
      };
      /** @description In an enrolment, in place of `public_key`. */
      setup?: {
        /** @description For `PublicKeyCredential.parseCreationOptionsFromJSON()`. */
        public_key: {
          rp: {
            id: string;
            name: string;
          };
          user: {
            id: string;
            name: string;
            displayName: string;
          };
          /** @description 32 bytes in base64url. */
          challenge: string;
          pubKeyCredParams: {
              /** @enum {string} */
              type: "public-key";
              alg: number;
            }[];
          /** @description Milliseconds. */
          timeout: number;
          excludeCredentials: {
              /** @enum {string} */
              type: "public-key";
              id: string;
              transports?: string[];
            }[];
          authenticatorSelection: {
            /** @enum {string} */
            residentKey: "preferred";
            requireResidentKey: boolean;
            /** @enum {string} */
            userVerification: "required" | "preferred";
          };
          /** @enum {string} */
          attestation: "none";
          extensions: {
            credProps: boolean;
          };
        };
      };
      /** @description Answers that are left to this login. */
      attempts_remaining: number;
    };
    TotpChallenge: {
      /** @enum {string} */
      method: "totp";
      code_length: number;
      /** @description Answers that are left to this login. */
      attempts_remaining: number;
      /** @description In an enrolment, until it ends. */
      setup?: {
        /** @description Base 32. */
        secret: string;
        uri: string;
        /** @description The same as an image. */
        qr: string;
      };
    };
    SmsChallenge: {
      /** @enum {string} */
      method: "sms";
      /** @enum {string} */
      channel: "sms";
      /** @description The phone number, masked. */
      destination: string;
      code_length: number;
      /** @description Seconds. */
      code_expires_in: number;
      /** @description Seconds until it can be asked for again; null when this login gets no further one. */
      resend_after: number | null;
      /** @description Answers that are left to this login. */
      attempts_remaining: number;
      /**
       * @description What the provider has said about the newest one.
       * @enum {string}
       */
      delivery: "queued" | "sent" | "delivered" | "failed";
    };
    EmailChallenge: {
      /** @enum {string} */
      method: "email";
      /** @enum {string} */
      channel: "email";
      /** @description The address, masked. */
      destination: string;
      code_length: number;
      /** @description Seconds. */
      code_expires_in: number;
      /** @description Seconds until it can be asked for again; null when this login gets no further one. */
      resend_after: number | null;
      /** @description Answers that are left to this login. */
      attempts_remaining: number;
      /**
       * @description What the provider has said about the newest one.
       * @enum {string}
       */
      delivery: "queued" | "sent" | "delivered" | "failed";
    };
    RecoveryCodeChallenge: {
      /** @enum {string} */
      method: "recovery_code";
      /** @description Answers that are left to this login. */
      attempts_remaining: number;
    };
    TwoFactorRequired: {
      /** @enum {string} */
      status: "2fa_required";
      /** @description Proof of what came before; good for going on with this challenge only. */
      pending_token: string;
      /** @enum {string} */
      token_type: "Bearer";
      /** @description Seconds. */
      expires_in: number;
      challenge: components["schemas"]["PasskeyChallenge"] | components["schemas"]["TotpChallenge"] | components["schemas"]["SmsChallenge"] | components["schemas"]["EmailChallenge"] | components["schemas"]["RecoveryCodeChallenge"];
      /** @description All that can finish it, best first. */
      methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
    };
    EnrolmentRequired: {
      /** @enum {string} */
      status: "2fa_enrolment_required";
      /** @description Opens `POST /factors` and `GET /login/2fa`, and nothing else. */
      pending_token: string;
      /** @enum {string} */
      token_type: "Bearer";
      /** @description Seconds. */
      expires_in: number;
      /** @description All that can be set up, best first. */
      methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
    };
    RecoveryCodesIssued: {
      /** @enum {string} */
      status: "recovery_codes";
      /** @description Ten, shown once. */
      recovery_codes: string[];
    };
    Authenticated: {
      /** @enum {string} */
      status: "authenticated";
      /** @description A JWT (RFC 9068); verify it with the JWKS. */
      access_token: string;
      /** @enum {string} */
      token_type: "Bearer";
      /** @description Seconds. */
      expires_in: number;
      /** @description Opaque; each use gives the next one. */
      refresh_token: string;
      /** @description Seconds. */
      refresh_expires_in: number;
      return_to?: string;
      /** @description Proves that this client has signed in before: keep it, and send it with the next logins. */
      device_token?: string;
      /** @description Seconds. */
      device_expires_in?: number;
      /**
       * Format: date-time
       * @description Until then this device is asked for no second factor.
       */
      trusted_until?: string;
      /** @description Ten, shown once: they came with the first second factor. */
      recovery_codes?: string[];
      /** @description After one was used: how many are left. */
      recovery_codes_remaining?: number;
    };
    PasswordSet: {
      /**
       * @description The login could not go on: sign in.
       * @enum {string}
       */
      status: "password_set";
      /** @description Seconds. */
      retry_after?: number;
    };
    User: {
      /** Format: uuid */
      id: string;
      /** @description What your system calls the user. */
      external_id: string | null;
      email: string;
      /** @description Whether the mailbox has been proven. */
      email_confirmed: boolean;
      /** @description The number of the `sms` factor: masked, unless the client has `users:contact`. */
      phone: string | null;
      /** @description The language of mails. */
      locale: string;
      /**
       * @description `invited`: no password was set yet; `erasing`: the user has left, and is erased in some days.
       * @enum {string}
       */
      status: "active" | "invited" | "disabled" | "erasing";
      /**
       * @description Whether a login asks for a second factor: always, if there is one, or never.
       * @enum {string}
       */
      two_factor: "required" | "optional" | "off";
      /** @description What can be the second factor of a login, best first. */
      methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
      /**
       * @description `imported`: set elsewhere, and not used here yet; `reset_required`: the old one is worth nothing any more.
       * @enum {string}
       */
      password: "set" | "none" | "imported" | "reset_required";
      /**
       * Format: date-time
       * @description When the account was made.
       */
      created_at: string;
      /** @description When the user last signed in, or proved a second factor once more; null if it was never, or too long ago to be known. */
      last_login_at: string | null;
    };
    Event: {
      /** @description Rises with time, as a text too. */
      id: string;
      /** Format: date-time */
      at: string;
      type: string;
      outcome: string;
      /** @description Whom it is about. */
      user_id: string | null;
      actor: {
        /** @enum {string} */
        type: "user" | "client" | "operator" | "system";
        /** @description Of the user or the client. */
        id: string | null;
      };
      /** @description `password`, or a method. */
      factor: string | null;
      /** @description Where the request came from; of IPv6 the /64. */
      address: string | null;
      /** @description Finds the log lines of the request. */
      request_id: string | null;
      /** @description Such as the session or device that it was about. */
      detail: string | null;
    };
    Webhook: {
      /** Format: uuid */
      id: string;
      url: string;
      events: string[];
      /** @description For people. */
      description: string | null;
      /** @enum {string} */
      status: "active" | "disabled";
      /** @description `gone`: it answered 410; `failing`: five days without a success. */
      disabled_reason: ("gone" | "failing" | "by_hand") | null;
      /**
       * Format: date-time
       * @description When it was made.
       */
      created_at: string;
      /** @description The first failure since the last success. */
      failing_since: string | null;
      /** @description The last success, within a minute. */
      last_delivered_at: string | null;
      /** @description Of the last try that failed since. */
      last_error: string | null;
      /** @description Events that it is still to hear of; 10000 stands for more. */
      waiting: number;
    };
    NewWebhook: {
      /** Format: uuid */
      id: string;
      url: string;
      events: string[];
      /** @description For people. */
      description: string | null;
      /** @enum {string} */
      status: "active" | "disabled";
      /** @description `gone`: it answered 410; `failing`: five days without a success. */
      disabled_reason: ("gone" | "failing" | "by_hand") | null;
      /**
       * Format: date-time
       * @description When it was made.
       */
      created_at: string;
      /** @description The first failure since the last success. */
      failing_since: string | null;
      /** @description The last success, within a minute. */
      last_delivered_at: string | null;
      /** @description Of the last try that failed since. */
      last_error: string | null;
      /** @description Events that it is still to hear of; 10000 stands for more. */
      waiting: number;
      /** @description Checks the signatures. Shown this once. */
      secret: string;
    };
  };
  responses: never;
  parameters: never;
  requestBodies: never;
  headers: never;
  pathItems: never;
}

export type $defs = Record<string, never>;

export type external = Record<string, never>;

export interface operations {

  /**
   * First step: e-mail and password
   * @description Asks for the best second factor that the account has, and returns a pending token; or the tokens at once where none is asked; or, where one has to be set up first, a token for that. An unknown e-mail, a wrong password and a disabled account are not to be told apart.
   */
  startLogin: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "email": "ada@example.com",
         *   "password": "correct horse battery staple",
         *   "return_to": "/orders/7"
         * }
         */
        "application/json": {
          /** @description Trimmed, NFKC, lower-cased; then 3 to 254 characters. */
          email: string;
          /** @description Taken exactly as sent. */
          password: string;
          /** @description Keep the session for up to 30 days instead of 12 hours. */
          remember_me?: boolean;
          /** @description Of a known device: limits of its own, and no second factor while it is trusted. Never in place of the password. */
          device_token?: string;
          /** @description A local path that comes back with the tokens. */
          return_to?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["TwoFactorRequired"] | components["schemas"]["Authenticated"] | components["schemas"]["EnrolmentRequired"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `password_reset_required`: This password may not be used any more. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `phone_unreachable`: This phone cannot receive texts. `phone_not_allowed`: Numbers like this are not accepted. */
      422: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `login_locked`: Too many failed sign-ins for this e-mail. `second_factor_locked`: The second factor of this account is locked. `resend_too_soon`: A code was sent a moment ago. `sms_limit_reached`: Too many texts without a sign-in. `mail_limit_reached`: Too many mails without a sign-in. `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `sms_unavailable`: Texts cannot be sent at the moment. `mail_unavailable`: Mails cannot be sent at the moment. `busy`: Too many sign-ins at this moment. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Sign in with a passkey alone
   * @description What any passkey of this service can answer, at `POST /login/2fa`: it stands for both factors, so it has to verify its user. Nothing is stored before that succeeds, once for each start.
   */
  startPasskeyLogin: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "return_to": "/orders/7"
         * }
         */
        "application/json": {
          /** @description Keep the session for up to 30 days instead of 12 hours. */
          remember_me?: boolean;
          /** @description Of a known device: limits of its own, and no second factor while it is trusted. Never in place of the password. */
          device_token?: string;
          /** @description A local path that comes back with the tokens. */
          return_to?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["TwoFactorRequired"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * How the login stands
   * @description Delivery of what was sent, the time and tries that are left, and in an enrolment its `setup` again.
   */
  readChallenge: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @description What it goes on with; null while it waits for the first second factor to be set up. */
            challenge: components["schemas"]["PasskeyChallenge"] | components["schemas"]["TotpChallenge"] | components["schemas"]["SmsChallenge"] | components["schemas"]["EmailChallenge"] | components["schemas"]["RecoveryCodeChallenge"] | null;
            /** @description All that can finish it, best first. */
            methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
          };
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Second step: the code or the passkey
   * @description Exchanges the pending token and a proof for an access token. A login takes five answers, over all methods, and one success. After the proof of a mailbox the answer is a token to set up the first factor with.
   */
  finishLogin: {
    /** @description `code` or `credential`. */
    requestBody: {
      content: {
        "application/json": {
          /** @description As it was sent, shown or written down; spaces and hyphens are dropped. */
          code?: string;
          credential?: ({
            /** @description The credential id, in base64url. */
            id: string;
            /** @description The same once more. */
            rawId: string;
            /** @enum {string} */
            type: "public-key";
            authenticatorAttachment?: string | null;
            clientExtensionResults?: {
              [key: string]: unknown;
            };
            response: {
              clientDataJSON: string;
              authenticatorData: string;
              signature: string;
              userHandle?: string | null;
            };
          }) | ({
            /** @description The credential id, in base64url. */
            id: string;
            /** @description The same once more. */
            rawId: string;
            /** @enum {string} */
            type: "public-key";
            authenticatorAttachment?: string | null;
            clientExtensionResults?: {
              [key: string]: unknown;
            };
            response: {
              clientDataJSON: string;
              attestationObject: string;
              transports?: string[];
            };
          });
          /**
           * @description What this is an answer to; by default what the login goes on with.
           * @enum {string}
           */
          method?: "passkey" | "totp" | "sms" | "email" | "recovery_code";
          /** @description Ask this device for no second factor, for 30 days. Not heard after email and recovery_code. */
          trust_device?: boolean;
          /** @description How its owner will know it again. */
          device_name?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["Authenticated"] | components["schemas"]["EnrolmentRequired"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `conflict`: This conflicts with what there is. */
      409: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `code_expired`: The code has run out. */
      410: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_code`: The code or passkey is wrong. */
      422: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `code_attempts_exhausted`: Too many wrong answers for this login. `second_factor_locked`: The second factor of this account is locked. `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Send the code again
   * @description Sends the same code again: at most three times in all per login and method. Tries that were used stay used.
   */
  resendCode: {
    requestBody: {
      content: {
        /** @example {} */
        "application/json": {
          /** @enum {string} */
          channel?: "sms" | "email";
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @description What it goes on with; null while it waits for the first second factor to be set up. */
            challenge: components["schemas"]["PasskeyChallenge"] | components["schemas"]["TotpChallenge"] | components["schemas"]["SmsChallenge"] | components["schemas"]["EmailChallenge"] | components["schemas"]["RecoveryCodeChallenge"] | null;
            /** @description All that can finish it, best first. */
            methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `phone_unreachable`: This phone cannot receive texts. `phone_not_allowed`: Numbers like this are not accepted. */
      422: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `second_factor_locked`: The second factor of this account is locked. `code_attempts_exhausted`: Too many wrong answers for this login. `resend_too_soon`: A code was sent a moment ago. `sms_limit_reached`: Too many texts without a sign-in. `mail_limit_reached`: Too many mails without a sign-in. `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `sms_unavailable`: Texts cannot be sent at the moment. `mail_unavailable`: Mails cannot be sent at the moment. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Go on with another method
   * @description One of `methods`, in the same login, with the tries that are left. Sends what is to be sent; a code that was sent before stays good.
   */
  switchMethod: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "method": "sms"
         * }
         */
        "application/json": {
          /** @enum {string} */
          method: "passkey" | "totp" | "sms" | "email" | "recovery_code";
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @description What it goes on with; null while it waits for the first second factor to be set up. */
            challenge: components["schemas"]["PasskeyChallenge"] | components["schemas"]["TotpChallenge"] | components["schemas"]["SmsChallenge"] | components["schemas"]["EmailChallenge"] | components["schemas"]["RecoveryCodeChallenge"] | null;
            /** @description All that can finish it, best first. */
            methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `phone_unreachable`: This phone cannot receive texts. `phone_not_allowed`: Numbers like this are not accepted. */
      422: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `second_factor_locked`: The second factor of this account is locked. `code_attempts_exhausted`: Too many wrong answers for this login. `resend_too_soon`: A code was sent a moment ago. `sms_limit_reached`: Too many texts without a sign-in. `mail_limit_reached`: Too many mails without a sign-in. `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `sms_unavailable`: Texts cannot be sent at the moment. `mail_unavailable`: Mails cannot be sent at the moment. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * A fresh proof for a session that needs more
   * @description For a signed-in user whose token is too old or too weak for a call (RFC 9470). Finishing it at `POST /login/2fa` gives the same session a new `auth_time` and `aal2`. An account without a second factor sends its password.
   */
  stepUp: {
    requestBody: {
      content: {
        "application/json": {
          /** @enum {string} */
          method?: "passkey" | "totp" | "sms" | "email" | "recovery_code";
          /** @description Of an account without a second factor. */
          password?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["TwoFactorRequired"] | components["schemas"]["Authenticated"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_password`: The password is wrong. `phone_unreachable`: This phone cannot receive texts. `phone_not_allowed`: Numbers like this are not accepted. */
      422: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `second_factor_locked`: The second factor of this account is locked. `resend_too_soon`: A code was sent a moment ago. `sms_limit_reached`: Too many texts without a sign-in. `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `sms_unavailable`: Texts cannot be sent at the moment. `busy`: Too many sign-ins at this moment. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * What the user has, and what can be set up
   * @description The second factors of the signed-in user, the oldest first, without anything secret.
   */
  listFactors: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            factors: ({
                /** @description A UUID; `recovery_code` for these. */
                id: string;
                /** @enum {string} */
                method: "passkey" | "totp" | "sms" | "email" | "recovery_code";
                name: string | null;
                /** @description Of sms: the number, masked. */
                destination?: string;
                /** @description Of a passkey. */
                credential_id?: string;
                /** @description Of a passkey: it is in more than one place. */
                backed_up?: boolean;
                /** @description Of recovery codes: how many are left. */
                remaining?: number;
                /**
                 * Format: date-time
                 * @description When it was proven.
                 */
                created_at: string;
                last_used_at: string | null;
              })[];
            /** @description What can be set up or, where it is there, replaced. */
            available: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
            /** @description For `PublicKeyCredential.signalAllAcceptedCredentials()`. */
            passkey: {
              rp_id: string;
              user_handle: string;
            };
          };
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Set up a second factor
   * @description Begins an enrolment: `challenge.setup` is what the new factor needs, and its first proof at `POST /login/2fa` makes it count; one of the same method is replaced then (passkeys: added). Called with the token of `2fa_enrolment_required`, or by a session that is fresh. A session of an account without a factor first gets a code by mail, whose proof answers `2fa_enrolment_required`. `recovery_code`: ten new codes at once; the old ones are dead.
   */
  enrolFactor: {
    requestBody: {
      content: {
        "application/json": {
          /** @enum {string} */
          method: "passkey" | "totp" | "sms" | "email" | "recovery_code";
          /** @description Of totp and passkey: how its owner will know it again. */
          name?: string;
          /** @description Of sms: with + and country code. */
          phone?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["TwoFactorRequired"] | components["schemas"]["RecoveryCodesIssued"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_user_authentication`: A fresher or stronger sign-in is needed. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `conflict`: This conflicts with what there is. */
      409: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `phone_unreachable`: This phone cannot receive texts. `phone_not_allowed`: Numbers like this are not accepted. */
      422: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `second_factor_locked`: The second factor of this account is locked. `resend_too_soon`: A code was sent a moment ago. `sms_limit_reached`: Too many texts without a sign-in. `mail_limit_reached`: Too many mails without a sign-in. `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `sms_unavailable`: Texts cannot be sent at the moment. `mail_unavailable`: Mails cannot be sent at the moment. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Remove a factor
   * @description Wants a fresh session, which stays; the others end, and so does the trust in devices. The last of passkey, totp and sms takes the recovery codes along.
   */
  removeFactor: {
    parameters: {
      path: {
        /**
         * @description Of `GET /factors`.
         * @example 0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10
         */
        id: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_user_authentication`: A fresher or stronger sign-in is needed. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `last_factor`: This is the last second factor. */
      409: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Name a factor anew
   * @description How its owner will know it again.
   */
  renameFactor: {
    parameters: {
      path: {
        /**
         * @description Of `GET /factors`.
         * @example 0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10
         */
        id: string;
      };
    };
    requestBody: {
      content: {
        /**
         * @example {
         *   "name": "Ada's phone"
         * }
         */
        "application/json": {
          name: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @description A UUID; `recovery_code` for these. */
            id: string;
            /** @enum {string} */
            method: "passkey" | "totp" | "sms" | "email" | "recovery_code";
            name: string | null;
            /** @description Of sms: the number, masked. */
            destination?: string;
            /** @description Of a passkey. */
            credential_id?: string;
            /** @description Of a passkey: it is in more than one place. */
            backed_up?: boolean;
            /** @description Of recovery codes: how many are left. */
            remaining?: number;
            /**
             * Format: date-time
             * @description When it was proven.
             */
            created_at: string;
            last_used_at: string | null;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * New tokens for a refresh token
   * @description Each refresh token works once. For 30 seconds after that it is answered with the same successor, so that two tabs and a lost reply are harmless; later than that it is taken for stolen, and the session ends.
   */
  refreshSession: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "refresh_token": "dsr_k1.…"
         * }
         */
        "application/json": {
          refresh_token: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @enum {string} */
            status: "authenticated";
            /** @description A JWT (RFC 9068); verify it with the JWKS. */
            access_token: string;
            /** @enum {string} */
            token_type: "Bearer";
            /** @description Seconds. */
            expires_in: number;
            /** @description Opaque; each use gives the next one. */
            refresh_token: string;
            /** @description Seconds. */
            refresh_expires_in: number;
            return_to?: string;
            /** @description Proves that this client has signed in before: keep it, and send it with the next logins. */
            device_token?: string;
            /** @description Seconds. */
            device_expires_in?: number;
            /**
             * Format: date-time
             * @description Until then this device is asked for no second factor.
             */
            trusted_until?: string;
            /** @description Ten, shown once: they came with the first second factor. */
            recovery_codes?: string[];
            /** @description After one was used: how many are left. */
            recovery_codes_remaining?: number;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. `refresh_token_reused`: This refresh token was already used. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * End sessions
   * @description Ends this session, the others, or all. Here their access tokens are refused at once. Others than this one want a fresh sign-in.
   */
  logout: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "scope": "local"
         * }
         */
        "application/json": {
          /**
           * @description This session (default), the others, or all.
           * @enum {string}
           */
          scope?: "local" | "others" | "all";
        };
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_user_authentication`: A fresher or stronger sign-in is needed. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Where the user is signed in
   * @description The live sessions, the one used last first.
   */
  listSessions: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            sessions: ({
                /** Format: uuid */
                id: string;
                /** @description The device that it belongs to, see `GET /devices`. */
                device_id: string | null;
                /**
                 * Format: date-time
                 * @description When it began.
                 */
                created_at: string;
                /**
                 * Format: date-time
                 * @description When its tokens were last made.
                 */
                last_used_at: string;
                user_agent: string | null;
                address: string | null;
                /** @description The one that asks. */
                current: boolean;
              })[];
          };
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * End one session
   * @description Ends a session of the signed-in user. Another than this one wants a fresh sign-in.
   */
  endSession: {
    parameters: {
      path: {
        /**
         * @description Of `GET /sessions`.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_user_authentication`: A fresher or stronger sign-in is needed. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Whether an access token is alive at this moment
   * @description For backends (RFC 7662, HTTP Basic). Tells at once about ended sessions and disabled users; verifying offline with the JWKS learns of them when the token runs out. Scope: `introspect`.
   */
  introspectToken: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "token": "eyJhbGciOi…"
         * }
         */
        "application/x-www-form-urlencoded": {
          token: string;
          token_type_hint?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @description Where it is false nothing else is told. */
            active: boolean;
            /** @enum {string} */
            token_type?: "Bearer";
            iss?: string;
            aud?: string;
            sub?: string;
            client_id?: string;
            sid?: string;
            jti?: string;
            iat?: number;
            exp?: number;
            auth_time?: number;
            amr?: string[];
            acr?: string;
            scope?: string;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Known devices
   * @description The devices that have signed in to the account before, the one used last first.
   */
  listDevices: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            devices: ({
                /** Format: uuid */
                id: string;
                name: string | null;
                /**
                 * Format: date-time
                 * @description When it first signed in.
                 */
                created_at: string;
                /**
                 * Format: date-time
                 * @description When it last signed in.
                 */
                last_used_at: string;
                address: string | null;
                user_agent: string | null;
                /** @description Until then it skips the second factor; null where it does not. */
                trusted_until: string | null;
                /** @description The one that asks. */
                current: boolean;
              })[];
          };
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Forget a device
   * @description Its sessions end, and its next login counts as a stranger's. Another than the own one wants a fresh sign-in.
   */
  forgetDevice: {
    parameters: {
      path: {
        /**
         * @description Of `GET /devices`.
         * @example 0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10
         */
        id: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_user_authentication`: A fresher or stronger sign-in is needed. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Name a device, or end its trust
   * @description A device that is trusted no longer is asked for the second factor again; it stays known.
   */
  changeDevice: {
    parameters: {
      path: {
        /**
         * @description Of `GET /devices`.
         * @example 0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10
         */
        id: string;
      };
    };
    requestBody: {
      content: {
        /**
         * @example {
         *   "name": "Ada's phone"
         * }
         */
        "application/json": {
          /** @description How its owner will know it again. */
          name?: string;
          /**
           * @description Ends its trust; trust begins at `POST /login/2fa` only.
           * @enum {boolean}
           */
          trusted?: false;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** Format: uuid */
            id: string;
            name: string | null;
            /**
             * Format: date-time
             * @description When it first signed in.
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When it last signed in.
             */
            last_used_at: string;
            address: string | null;
            user_agent: string | null;
            /** @description Until then it skips the second factor; null where it does not. */
            trusted_until: string | null;
            /** @description The one that asks. */
            current: boolean;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Change the password
   * @description Wants a fresh sign-in. Every session ends, this one too: the answer is a new one of the same level.
   */
  changePassword: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "current_password": "correct horse battery staple",
         *   "password": "a long sentence that only one person knows"
         * }
         */
        "application/json": {
          /** @description Taken exactly as sent. */
          current_password: string;
          /** @description Taken exactly as sent. */
          password: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["Authenticated"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_user_authentication`: A fresher or stronger sign-in is needed. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `password_reset_required`: This password may not be used any more. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `conflict`: This conflicts with what there is. */
      409: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_password`: The password is wrong. */
      422: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `busy`: Too many sign-ins at this moment. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Ask for an account
   * @description Mails a link by which an account is made, or one to set the password where the address has an account. The answer is the same for every address, and nothing is stored for it before its mailbox is proven.
   */
  register: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "email": "grace@example.com",
         *   "locale": "en"
         * }
         */
        "application/json": {
          /** @description Trimmed, NFKC, lower-cased; then 3 to 254 characters. */
          email: string;
          /** @description Language of mails (BCP 47); English where it is not known. */
          locale?: string;
          /** @description Of a known device: limits of its own, and no second factor while it is trusted. Never in place of the password. */
          device_token?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      202: {
        content: {
          "application/json": {
            /** @enum {string} */
            status: "mail_sent";
            /** @description Seconds that the link in the mail lives. */
            expires_in: number;
            /** @description Seconds until another mail can be had. */
            resend_after: number;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `mail_unavailable`: Mails cannot be sent at the moment. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Ask for a new password
   * @description Mails a link to set it. The answer is the same for every address. The second factor is still asked for.
   */
  forgotPassword: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "email": "grace@example.com",
         *   "locale": "en"
         * }
         */
        "application/json": {
          /** @description Trimmed, NFKC, lower-cased; then 3 to 254 characters. */
          email: string;
          /** @description Language of mails (BCP 47); English where it is not known. */
          locale?: string;
          /** @description Of a known device: limits of its own, and no second factor while it is trusted. Never in place of the password. */
          device_token?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      202: {
        content: {
          "application/json": {
            /** @enum {string} */
            status: "mail_sent";
            /** @description Seconds that the link in the mail lives. */
            expires_in: number;
            /** @description Seconds until another mail can be had. */
            resend_after: number;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `mail_unavailable`: Mails cannot be sent at the moment. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Set a password by a mailed link
   * @description Makes the account, or replaces its password, and goes on exactly as `POST /login` after a right password. A password that is not good enough leaves the link alive.
   */
  setPassword: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "token": "dsm_8qTR0m7ZkH1uWn5sYbXv2cD4eFgJhLpQaKiOuEwRtYz",
         *   "password": "a long sentence that only she knows"
         * }
         */
        "application/json": {
          /** @description From the mail: what follows `/set-password#token=`. */
          token: string;
          /** @description Taken exactly as sent. */
          password: string;
          /** @description Keep the session for up to 30 days instead of 12 hours. */
          remember_me?: boolean;
          /** @description A local path that comes back with the tokens. */
          return_to?: string;
          /** @description Of a known device: limits of its own, and no second factor while it is trusted. Never in place of the password. */
          device_token?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["TwoFactorRequired"] | components["schemas"]["Authenticated"] | components["schemas"]["EnrolmentRequired"] | components["schemas"]["PasswordSet"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `link_expired`: The link is not good any more. */
      410: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `busy`: Too many sign-ins at this moment. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * The signed-in user
   * @description The account and how this session was authenticated.
   */
  readMe: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** Format: uuid */
            id: string;
            email: string;
            /** @description Whether the mailbox has been proven. */
            email_confirmed: boolean;
            /** @description The language of mails. */
            locale: string;
            /** @description The number of the `sms` factor, masked. */
            phone: string | null;
            /**
             * @description Whether a login asks for a second factor: always, if there is one, or never.
             * @enum {string}
             */
            two_factor: "required" | "optional" | "off";
            /** @description What can be the second factor of a login, best first. */
            methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
            amr: string[];
            acr: string;
            /** @description When the session was authenticated, in seconds since 1970. */
            auth_time: number;
          };
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Leave
   * @description Wants a fresh sign-in. The account is disabled at once and erased later; until then the mail about it can take it back.
   */
  deleteMe: {
    responses: {
      /** @description Done. */
      202: {
        content: {
          "application/json": {
            /** Format: date-time */
            erases_at: string;
          };
        };
      };
      /** @description `insufficient_user_authentication`: A fresher or stronger sign-in is needed. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Choose the language of mails
   * @description Mails are in English where there is none in that language.
   */
  changeMe: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "locale": "de"
         * }
         */
        "application/json": {
          /** @description Language of mails (BCP 47); English where it is not known. */
          locale: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** Format: uuid */
            id: string;
            email: string;
            /** @description Whether the mailbox has been proven. */
            email_confirmed: boolean;
            /** @description The language of mails. */
            locale: string;
            /** @description The number of the `sms` factor, masked. */
            phone: string | null;
            /**
             * @description Whether a login asks for a second factor: always, if there is one, or never.
             * @enum {string}
             */
            two_factor: "required" | "optional" | "off";
            /** @description What can be the second factor of a login, best first. */
            methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
            amr: string[];
            acr: string;
            /** @description When the session was authenticated, in seconds since 1970. */
            auth_time: number;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Everything that is known of the user
   * @description Wants a fresh sign-in; at most five times in 24 hours. Nothing secret is in it.
   */
  exportMe: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            profile: {
              /** Format: uuid */
              id: string;
              email: string;
              email_confirmed: boolean;
              locale: string;
              two_factor: string;
              /** Format: date-time */
              created_at: string;
            };
            factors: ({
                /** Format: uuid */
                id: string;
                method: string;
                name: string | null;
                phone: string | null;
                /** Format: date-time */
                created_at: string;
                last_used_at: string | null;
              })[];
            /** @description How many are left. */
            recovery_codes: number;
            sessions: ({
                /** Format: uuid */
                id: string;
                /** Format: date-time */
                created_at: string;
                /** Format: date-time */
                last_used_at: string;
                user_agent: string | null;
                address: string | null;
              })[];
            devices: ({
                /** Format: uuid */
                id: string;
                name: string | null;
                /** Format: date-time */
                created_at: string;
                /** Format: date-time */
                last_used_at: string;
                user_agent: string | null;
                address: string | null;
              })[];
            events: ({
                /** Format: date-time */
                at: string;
                type: string;
                outcome: string;
                factor: string | null;
                address: string | null;
              })[];
            texts: {
                /** Format: date-time */
                at: string;
                /** @description Masked. */
                phone: string;
                delivery: string;
              }[];
            mails: {
                /** Format: date-time */
                at: string;
                /** @description Masked. */
                address: string;
                topic: string;
                delivery: string;
              }[];
          };
        };
      };
      /** @description `insufficient_user_authentication`: A fresher or stronger sign-in is needed. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Ask for another e-mail
   * @description Wants a fresh sign-in. Mails a link to the new address and a notice to the old one; the link before it ends. Whether the new address is taken only its mailbox learns.
   */
  changeEmail: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "email": "ada@example.org"
         * }
         */
        "application/json": {
          /** @description Trimmed, NFKC, lower-cased; then 3 to 254 characters. */
          email: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      202: {
        content: {
          "application/json": {
            /** @enum {string} */
            status: "mail_sent";
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_user_authentication`: A fresher or stronger sign-in is needed. `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `mail_limit_reached`: Too many mails without a sign-in. `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Confirm the new e-mail
   * @description By the link that was mailed to it, in a session of the same user. Other sessions end.
   */
  confirmEmail: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "token": "dsm_8qTR0m7ZkH1uWn5sYbXv2cD4eFgJhLpQaKiOuEwRtYz"
         * }
         */
        "application/json": {
          /** @description From the mail: what follows `/confirm-email#token=`. */
          token: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** Format: uuid */
            id: string;
            email: string;
            /** @description Whether the mailbox has been proven. */
            email_confirmed: boolean;
            /** @description The language of mails. */
            locale: string;
            /** @description The number of the `sms` factor, masked. */
            phone: string | null;
            /**
             * @description Whether a login asks for a second factor: always, if there is one, or never.
             * @enum {string}
             */
            two_factor: "required" | "optional" | "off";
            /** @description What can be the second factor of a login, best first. */
            methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
            amr: string[];
            acr: string;
            /** @description When the session was authenticated, in seconds since 1970. */
            auth_time: number;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_token`: The token is missing or not valid here. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `link_expired`: The link is not good any more. */
      410: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * “That was not me”
   * @description By the link of a notice: takes back what the sessions of the account have changed since, ends all of them, and has the password set anew by another mail.
   */
  secureAccount: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "token": "dsm_8qTR0m7ZkH1uWn5sYbXv2cD4eFgJhLpQaKiOuEwRtYz"
         * }
         */
        "application/json": {
          /** @description From the mail: what follows `/not-me#token=`. */
          token: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @enum {string} */
            status: "secured";
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `link_expired`: The link is not good any more. */
      410: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Find users
   * @description Those that match all filters, the newest first, page by page: users who are made or erased meanwhile shift nothing. In the body, so that nothing personal is in an address. Scope: `users:read`.
   */
  searchUsers: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "email_prefix": "ada",
         *   "status": "active",
         *   "limit": 20
         * }
         */
        "application/json": {
          /** @description Trimmed, NFKC, lower-cased; then 3 to 254 characters. */
          email?: string;
          /** @description How the e-mail begins; case does not matter. */
          email_prefix?: string;
          /** @description With + and country code. */
          phone?: string;
          /** @description What your system calls the user, without control characters; no two users have the same. */
          external_id?: string;
          /** @enum {string} */
          status?: "active" | "invited" | "disabled" | "erasing";
          /**
           * Format: date-time
           * @description Later than that.
           */
          created_after?: string;
          /**
           * Format: date-time
           * @description Earlier than that.
           */
          created_before?: string;
          /** @description Users on a page; 50 without a word. */
          limit?: number;
          /** @description `next_cursor` of the page before, with the same filters. */
          cursor?: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @description The newest first. */
            users: components["schemas"]["User"][];
            /** @description Asks for the next page; null at the last. */
            next_cursor: string | null;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Make a user
   * @description Without a password: `invite` mails a link, good for seven days, by which the user sets one. Safe to repeat: a user who is there already, by e-mail or external id, is a `conflict` whose `user_id` names the user. Scope: `users:write`.
   */
  createUser: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "email": "ada@example.com",
         *   "external_id": "customer-4711",
         *   "locale": "en"
         * }
         */
        "application/json": {
          /** @description Trimmed, NFKC, lower-cased; then 3 to 254 characters. */
          email: string;
          /** @description What your system calls the user, without control characters; no two users have the same. */
          external_id?: string;
          /** @description Language of mails (BCP 47); English where it is not known. */
          locale?: string;
          /**
           * @description Whether a login asks for a second factor: always, if there is one, or never.
           * @enum {string}
           */
          two_factor?: "required" | "optional" | "off";
          /** @description With + and country code. */
          phone?: string;
          /** @description Your system has proven the number: it is a second factor. False without a word, and then it is not kept. True needs `phone`. */
          phone_confirmed?: boolean;
          /** @description Mail a link, good for seven days, by which a password is set. True without a word. */
          invite?: boolean;
          /** @description Your system has proven the mailbox. False without a word. */
          email_confirmed?: boolean;
        };
      };
    };
    responses: {
      /** @description Done. */
      201: {
        content: {
          "application/json": components["schemas"]["User"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `conflict`: This conflicts with what there is. */
      409: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `phone_not_allowed`: Numbers like this are not accepted. */
      422: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * A user, whole
   * @description With factors, sessions, devices, and until when something is locked. Scope: `users:read`.
   */
  readUser: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** Format: uuid */
            id: string;
            /** @description What your system calls the user. */
            external_id: string | null;
            email: string;
            /** @description Whether the mailbox has been proven. */
            email_confirmed: boolean;
            /** @description The number of the `sms` factor: masked, unless the client has `users:contact`. */
            phone: string | null;
            /** @description The language of mails. */
            locale: string;
            /**
             * @description `invited`: no password was set yet; `erasing`: the user has left, and is erased in some days.
             * @enum {string}
             */
            status: "active" | "invited" | "disabled" | "erasing";
            /**
             * @description Whether a login asks for a second factor: always, if there is one, or never.
             * @enum {string}
             */
            two_factor: "required" | "optional" | "off";
            /** @description What can be the second factor of a login, best first. */
            methods: ("passkey" | "totp" | "sms" | "email" | "recovery_code")[];
            /**
             * @description `imported`: set elsewhere, and not used here yet; `reset_required`: the old one is worth nothing any more.
             * @enum {string}
             */
            password: "set" | "none" | "imported" | "reset_required";
            /**
             * Format: date-time
             * @description When the account was made.
             */
            created_at: string;
            /** @description When the user last signed in, or proved a second factor once more; null if it was never, or too long ago to be known. */
            last_login_at: string | null;
            factors: ({
                /** @description A UUID; `recovery_code` for these, which go with the last factor. */
                id: string;
                /** @enum {string} */
                method: "passkey" | "totp" | "sms" | "email" | "recovery_code";
                /** @description How its owner calls it. */
                name: string | null;
                /** @description Of sms: the number, masked as `phone` is. */
                destination?: string;
                /** @description Of recovery codes: how many are left. */
                remaining?: number;
                /**
                 * Format: date-time
                 * @description When it was proven.
                 */
                created_at: string;
                /** @description When it was last used. */
                last_used_at: string | null;
              })[];
            /** @description Those that live, the one used last first. */
            sessions: ({
                /** Format: uuid */
                id: string;
                /** @description The device that it belongs to, see `GET /devices`. */
                device_id: string | null;
                /**
                 * Format: date-time
                 * @description When it began.
                 */
                created_at: string;
                /**
                 * Format: date-time
                 * @description When its tokens were last made.
                 */
                last_used_at: string;
                user_agent: string | null;
                address: string | null;
              })[];
            /** @description Known ones, the one used last first. */
            devices: ({
                /** Format: uuid */
                id: string;
                /** @description How its owner calls it. */
                name: string | null;
                /**
                 * Format: date-time
                 * @description When it first signed in.
                 */
                created_at: string;
                /**
                 * Format: date-time
                 * @description When it last signed in.
                 */
                last_used_at: string;
                /** @description Where from. */
                address: string | null;
                /** @description With what. */
                user_agent: string | null;
                /** @description Until then it skips the second factor. */
                trusted_until: string | null;
              })[];
            /** @description Until then passwords are not looked at, from strangers or from a device; null if nothing is locked. */
            login_locked_until: string | null;
            /** @description Until then codes are refused, from strangers or from known devices; null if nothing is locked. */
            second_factor_locked_until: string | null;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Erase a user
   * @description At once, and for good: of events only time and type are kept. Scope: `users:delete`.
   */
  eraseUser: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Change a user
   * @description What is absent stays as it is. `email`, `two_factor` and `disabled` want the scope `users:security` as well; they end sessions, the trust in devices and logins under way; `email` and `disabled` end links too. A new e-mail is not confirmed, and the old one is told. What is so already is no change. Scope: `users:write`.
   */
  changeUser: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    requestBody: {
      content: {
        /**
         * @example {
         *   "external_id": "customer-4711",
         *   "disabled": true
         * }
         */
        "application/json": {
          /** @description Trimmed, NFKC, lower-cased; then 3 to 254 characters. */
          email?: string;
          /** @description Null: none any more. */
          external_id?: string | null;
          /** @description Null: English. */
          locale?: string | null;
          /**
           * @description Whether a login asks for a second factor: always, if there is one, or never.
           * @enum {string}
           */
          two_factor?: "required" | "optional" | "off";
          /** @description False also takes back that the user has left, as long as it is not erased. */
          disabled?: boolean;
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["User"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `conflict`: This conflicts with what there is. */
      409: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Have a new password set
   * @description Mails the user a link; nobody else sees it. To somebody without a password it is an invitation. Said again within a minute or so (`MAIL_COOLDOWN`), nothing more is mailed while the link of that mail lives. Scope: `users:security`.
   */
  resetUserPassword: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    requestBody: {
      content: {
        /**
         * @example {
         *   "force": true
         * }
         */
        "application/json": {
          /** @description The old password is worth nothing from now on, and all sessions end. */
          force?: boolean;
        };
      };
    };
    responses: {
      /** @description Done. */
      202: {
        content: {
          "application/json": {
            /** @enum {string} */
            status: "mail_sent";
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * End the locks of a user
   * @description Those after wrong passwords and wrong codes, for known devices and for strangers. Scope: `users:security`.
   */
  unlockUser: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    requestBody: {
      content: {
        /**
         * @example {
         *   "all": true
         * }
         */
        "application/json": {
          /** @description Also what is counted of codes in a day and in 30 days, and of texts and mails. */
          all?: boolean;
        };
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Take all second factors away
   * @description Recovery codes too, for somebody who has lost them. Sessions end, and the user is told. Where a factor is required, the next login sets one up, behind a code by mail. Scope: `users:security`.
   */
  removeUserFactors: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Take one second factor away
   * @description Be it the last, with which the recovery codes go. Sessions end, and the user is told. Scope: `users:security`.
   */
  removeUserFactor: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
        /**
         * @description The one that is taken away.
         * @example 0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10
         */
        part: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * End all sessions of a user
   * @description Their access tokens are refused here at once; where they are verified offline, when they run out. Scope: `users:security`.
   */
  endUserSessions: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * End one session of a user
   * @description As above, and the others stay. Scope: `users:security`.
   */
  endUserSession: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
        /**
         * @description The one that is taken away.
         * @example 0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10
         */
        part: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Forget all devices of a user
   * @description Their sessions end, and the next login of each counts as a stranger's. Scope: `users:security`.
   */
  forgetUserDevices: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Forget one device of a user
   * @description Its sessions end, and its next login counts as a stranger's. Scope: `users:security`.
   */
  forgetUserDevice: {
    parameters: {
      path: {
        /**
         * @description The user.
         * @example 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
        /**
         * @description The one that is taken away.
         * @example 0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10
         */
        part: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * What happened
   * @description The log of events. Nothing ever comes behind an event that was read: whoever remembers the `id` of the last one and asks for what came `after` it misses none. With a time in its place an event whose time is a moment out of order may be missed: go on with ids. Kept for `EVENT_RETENTION_DAYS`. That a client has read them is recorded once an hour. Scope: `events:read`.
   */
  readEvents: {
    parameters: {
      query?: {
        /**
         * @description Whom the events are about.
         * @example 0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10
         */
        user_id?: string;
        /**
         * @description A type, or a group of them: `factor.*`.
         * @example factor.*
         */
        type?: string;
        /**
         * @description Only what came after it: the `id` of an event, or a time (RFC 3339).
         * @example evt_0000000000000004711
         */
        after?: string;
        /**
         * @description Only what came before it: the `id` of an event, or a time (RFC 3339).
         * @example evt_0000000000000004711
         */
        before?: string;
        /**
         * @description From 1 to 200; 50 without it.
         * @example 50
         */
        limit?: string;
        /**
         * @description The `next_cursor` of the page before, with the same query.
         * @example evt_0000000000000004711
         */
        cursor?: string;
        /**
         * @description By time; without it `asc` where there is an `after`, otherwise `desc`.
         * @example asc
         */
        order?: "asc" | "desc";
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            events: components["schemas"]["Event"][];
            /** @description The next page; null where there is none for now. A page may be short, or empty, and still have one. */
            next_cursor: string | null;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * All webhooks
   * @description The oldest first, with how it goes with each. Scope: `webhooks:write`.
   */
  listWebhooks: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            webhooks: components["schemas"]["Webhook"][];
          };
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Be told of changes
   * @description Each event is posted as Standard Webhooks 1.0.0 has it: `{ type, timestamp, data }` with ids and words, signed with the `secret`, at least once, in no promised order. At most ten endpoints. Names are looked up at each try, and addresses of private networks refused. Scope: `webhooks:write`.
   */
  createWebhook: {
    requestBody: {
      content: {
        /**
         * @example {
         *   "url": "https://backend.example.com/hooks/doorstep",
         *   "events": [
         *     "user.created",
         *     "factor.*"
         *   ]
         * }
         */
        "application/json": {
          /** @description https (http too outside production), without credentials and fragment. */
          url: string;
          /** @description Types, or groups of them. */
          events: ("user.created" | "user.changed" | "user.disabled" | "user.enabled" | "user.deletion_requested" | "user.deleted" | "email.changed" | "password.changed" | "password.reset_forced" | "factor.added" | "factor.replaced" | "factor.removed" | "factor.locked" | "recovery_code.used" | "session.started" | "session.ended" | "refresh.reused" | "device.added" | "device.trusted" | "device.removed" | "account.secured" | "sms.spend" | "webhook.disabled" | "user.*" | "email.*" | "password.*" | "factor.*" | "recovery_code.*" | "session.*" | "refresh.*" | "device.*" | "account.*" | "sms.*" | "webhook.*")[];
          description?: string | null;
        };
      };
    };
    responses: {
      /** @description Done. */
      201: {
        content: {
          "application/json": components["schemas"]["NewWebhook"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `conflict`: This conflicts with what there is. */
      409: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Take a webhook away
   * @description With all that it was still to hear of. Scope: `webhooks:write`.
   */
  deleteWebhook: {
    parameters: {
      path: {
        /**
         * @description The endpoint.
         * @example 2c1f6f3e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Change, disable or enable a webhook
   * @description What is absent stays as it is. Scope: `webhooks:write`.
   */
  changeWebhook: {
    parameters: {
      path: {
        /**
         * @description The endpoint.
         * @example 2c1f6f3e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    requestBody: {
      content: {
        /**
         * @example {
         *   "status": "active"
         * }
         */
        "application/json": {
          /** @description https (http too outside production), without credentials and fragment. */
          url?: string;
          /** @description Types, or groups of them. */
          events?: ("user.created" | "user.changed" | "user.disabled" | "user.enabled" | "user.deletion_requested" | "user.deleted" | "email.changed" | "password.changed" | "password.reset_forced" | "factor.added" | "factor.replaced" | "factor.removed" | "factor.locked" | "recovery_code.used" | "session.started" | "session.ended" | "refresh.reused" | "device.added" | "device.trusted" | "device.removed" | "account.secured" | "sms.spend" | "webhook.disabled" | "user.*" | "email.*" | "password.*" | "factor.*" | "recovery_code.*" | "session.*" | "refresh.*" | "device.*" | "account.*" | "sms.*" | "webhook.*")[];
          description?: string | null;
          /**
           * @description `active`: what happens from now on is sent, and what still waits. What happened meanwhile: `redeliver`.
           * @enum {string}
           */
          status?: "active" | "disabled";
        };
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["Webhook"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * A new secret for a webhook
   * @description Shown this once. The one before signs beside it for 24 hours; asked for again, it takes none away from you. Scope: `webhooks:write`.
   */
  rotateWebhookSecret: {
    parameters: {
      path: {
        /**
         * @description The endpoint.
         * @example 2c1f6f3e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    requestBody: {
      content: {
        /** @example {} */
        "application/json": Record<string, never>;
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": components["schemas"]["NewWebhook"];
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Be told once more
   * @description Of everything that came after an event or a time, at most 14 days ago. Scope: `webhooks:write`.
   */
  redeliverWebhook: {
    parameters: {
      path: {
        /**
         * @description The endpoint.
         * @example 2c1f6f3e-7a52-4d3a-9a39-0a1f2b3c4d5e
         */
        id: string;
      };
    };
    requestBody: {
      content: {
        /**
         * @example {
         *   "after": "evt_0000000000000004711"
         * }
         */
        "application/json": {
          /** @description The `id` of an event, or a time (RFC 3339); at most 14 days ago. */
          after: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      202: {
        content: {
          "application/json": {
            /** @description What came after this event is sent once more. */
            after: string;
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_credentials`: E-mail, password or passkey is wrong. */
      401: {
        headers: {
          /** @description What is asked for (RFC 9110, RFC 6750, RFC 9470). */
          "WWW-Authenticate"?: string;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `insufficient_scope`: The client may not do this. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `conflict`: This conflicts with what there is. */
      409: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Public keys of access tokens
   * @description Cache them for five minutes; fetch again when a token names a key that you do not have.
   */
  readJwks: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            keys: {
                /** @enum {string} */
                kty: "EC";
                /** @enum {string} */
                crv: "P-256";
                x: string;
                y: string;
                /** @description RFC 7638 thumbprint. */
                kid: string;
                /** @enum {string} */
                alg: "ES256";
                /** @enum {string} */
                use: "sig";
              }[];
          };
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * What this issuer offers
   * @description RFC 8414, only what is true: there is no authorization endpoint, and no grant but our own login.
   */
  readMetadata: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** Format: uri */
            issuer: string;
            /** Format: uri */
            jwks_uri: string;
            response_types_supported: string[];
            grant_types_supported: string[];
            acr_values_supported: string[];
            /** Format: uri */
            introspection_endpoint?: string;
            introspection_endpoint_auth_methods_supported?: string[];
            /** Format: uri */
            service_documentation: string;
          };
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Whether the process answers
   * @description Looks at nothing else: restart the process when this fails.
   */
  readLiveness: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @enum {string} */
            status: "ok";
          };
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Whether logins can be served
   * @description Database reachable, writable and migrated, and not shutting down. What is wrong is told at `/health` on METRICS_PORT; so is the state of the SMS provider and of the budget of texts, which does not make it unready: logins without a text go on.
   */
  readReadiness: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** @enum {string} */
            status: "ready";
          };
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description Not now. `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/json": {
            /** @enum {string} */
            status: "not_ready";
          };
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * What a problem code means
   * @description Explains one problem code: why a client meets it, what to do about it, and what it looks like. A browser gets it as a page.
   */
  readProblem: {
    parameters: {
      path: {
        /**
         * @description The `code` of a problem document.
         * @example invalid_code
         */
        code: string;
      };
    };
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            /** Format: uri */
            type: string;
            code: string;
            title: string;
            status: number;
            /** @description Why a client meets it. */
            cause: string;
            /** @description What a client does about it. */
            advice: string;
            body: components["schemas"]["Problem"];
          };
        };
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Delivery receipts of Twilio
   * @description Signed with `X-Twilio-Signature` over PUBLIC_URL; anything else is refused before it is read, and so is everything where another provider sends the texts.
   */
  recordReceipt: {
    parameters: {
      header: {
        /**
         * @description HMAC-SHA-1 under the auth token, in Base64.
         * @example c5sXfGxXvLcYxvnHlYXbPUNXf4s=
         */
        "x-twilio-signature": string;
      };
    };
    requestBody: {
      content: {
        /**
         * @example {
         *   "MessageSid": "SM0123456789abcdef0123456789abcdef",
         *   "MessageStatus": "delivered"
         * }
         */
        "application/x-www-form-urlencoded": {
          [key: string]: string;
        };
      };
    };
    responses: {
      /** @description Done. */
      204: {
        content: never;
      };
      /** @description `invalid_request`: The request does not match its schema. */
      400: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `invalid_signature`: The webhook signature does not hold. */
      403: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `payload_too_large`: The body is too large. */
      413: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unsupported_media_type`: The body is not of the type that the call takes. */
      415: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Texts that were "sent"
   * @description Newest first. Only with the console sender, which production refuses; answered to this machine and to DEVELOPMENT_NETWORKS.
   */
  readTexts: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            messages: {
                to: string;
                body: string;
                /** Format: date-time */
                sent_at: string;
              }[];
          };
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
  /**
   * Mails that were "sent"
   * @description Newest first. Only with the console sender, which production refuses; answered to this machine and to DEVELOPMENT_NETWORKS.
   */
  readMails: {
    responses: {
      /** @description Done. */
      200: {
        content: {
          "application/json": {
            messages: {
                to: string;
                subject: string;
                text: string;
                html: string;
                /** Format: date-time */
                sent_at: string;
              }[];
          };
        };
      };
      /** @description `not_found`: There is nothing here. */
      404: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `rate_limited`: Too many requests. */
      429: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `internal_error`: Something went wrong here. */
      500: {
        headers: {
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
      /** @description `unavailable`: The service cannot answer now. */
      503: {
        headers: {
          /** @description Seconds to wait: `retry_after`. */
          "Retry-After"?: number;
        };
        content: {
          "application/problem+json": components["schemas"]["Problem"];
        };
      };
    };
  };
}
