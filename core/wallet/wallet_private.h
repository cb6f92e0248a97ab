/* Private to core/wallet: the context that signs. */
#ifndef QUARRY_CORE_WALLET_PRIVATE_H
#define QUARRY_CORE_WALLET_PRIVATE_H

#include <secp256k1.h>

#include "core/wallet/wallet.h"

const secp256k1_context *wallet_signing(void); /* after wallet_init */

#endif
