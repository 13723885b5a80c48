// What the page remembers between visits. Storage may be forbidden or full: then it forgets, and goes on.

const PREFIX = "setsail.";

function from(storage, name) {
  try {
    return storage().getItem(PREFIX + name);
  } catch {
    return null;
  }
}

function into(storage, name, value) {
  try {
    if (value === null || value === "") storage().removeItem(PREFIX + name);
    else storage().setItem(PREFIX + name, value);
  } catch {
    // Forgetting is all that is lost.
  }
}

export const remembered = (name) => from(() => localStorage, name);
export const remember = (name, value) => into(() => localStorage, name, value);

// The key lives only as long as the tab.
export const rememberedKey = () => from(() => sessionStorage, "key");
export const rememberKey = (value) => into(() => sessionStorage, "key", value);
