/** Passkeys: between the browser's bytes and the contract's base64url. */

export function toBytes(text: string): ArrayBuffer {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (c) => c.charCodeAt(0)).buffer;
}

export function toText(bytes: ArrayBuffer | null): string {
  if (!bytes) return "";
  const plain = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

type Named = { id: string; type: "public-key"; transports?: AuthenticatorTransport[] };
type Options = { publicKey: Record<string, unknown> & { challenge: string } };

function named(list: unknown): PublicKeyCredentialDescriptor[] {
  return ((list ?? []) as Named[]).map((one) => ({ ...one, id: toBytes(one.id) }));
}

/** Whether this browser has passkeys at all. */
export function hasPasskeys(): boolean {
  return typeof PublicKeyCredential !== "undefined" && !!navigator.credentials;
}

/** Makes a passkey by the options of the gateway; none if the person turned back. */
export async function create(options: unknown): Promise<unknown | null> {
  const { publicKey } = options as Options & { publicKey: { user: { id: string } } };
  const credential = (await ask(() =>
    navigator.credentials.create({
      publicKey: {
        ...(publicKey as unknown as PublicKeyCredentialCreationOptions),
        challenge: toBytes(publicKey.challenge),
        user: { ...(publicKey.user as unknown as PublicKeyCredentialUserEntity), id: toBytes(publicKey.user.id) },
        excludeCredentials: named(publicKey.excludeCredentials),
      },
    }),
  )) as PublicKeyCredential | null;
  if (!credential) return null;
  const answer = credential.response as AuthenticatorAttestationResponse;
  return {
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    extensions: credential.getClientExtensionResults(),
    response: {
      attestationObject: toText(answer.attestationObject),
      clientDataJSON: toText(answer.clientDataJSON),
      transports: answer.getTransports?.() ?? [],
    },
  };
}

/** Shows a passkey by the options of the gateway; none if the person turned back. */
export async function get(options: unknown): Promise<unknown | null> {
  const { publicKey } = options as Options;
  const credential = (await ask(() =>
    navigator.credentials.get({
      publicKey: {
        ...(publicKey as unknown as PublicKeyCredentialRequestOptions),
        challenge: toBytes(publicKey.challenge),
        allowCredentials: named(publicKey.allowCredentials),
      },
    }),
  )) as PublicKeyCredential | null;
  if (!credential) return null;
  const answer = credential.response as AuthenticatorAssertionResponse;
  return {
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    extensions: credential.getClientExtensionResults(),
    response: {
      authenticatorData: toText(answer.authenticatorData),
      clientDataJSON: toText(answer.clientDataJSON),
      signature: toText(answer.signature),
      userHandle: answer.userHandle ? toText(answer.userHandle) : null,
    },
  };
}

async function ask<T>(asked: () => Promise<T>): Promise<T | null> {
  try {
    return await asked();
  } catch (error) {
    // Turning back, and waiting for too long, are the same to the browser.
    if (error instanceof DOMException && ["NotAllowedError", "AbortError"].includes(error.name)) return null;
    throw error;
  }
}
