// Asks for the API's token in a dialog. Returns an empty text if it was cancelled.
export function askToken() {
  const dialog = document.getElementById("token");
  const field = dialog.querySelector("input");
  field.value = "";
  dialog.returnValue = "";
  dialog.querySelector("button[type=button]").onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "use" ? field.value : ""), { once: true });
  });
}
