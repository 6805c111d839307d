"""PLC snippets that write a string to a target and wait for what becomes of it.

Structured Text of IEC 61131-3 for CODESYS 3.5: a function block of pure logic, with the two Modbus channels of the
device tree mapped to its arrays (https://content.helpme-codesys.com/en/CODESYS%20Modbus/_mod_overview.html).
SCL for TIA Portal with the instruction MB_CLIENT (Siemens "MB_CLIENT: Communicate via PROFINET as Modbus TCP client").
"""

from vdevice.config import Config, Target
from vdevice.registers import text
from vdevice.registers.layout import COMMIT, LONGEST_WRITE, MIRROR
from vdevice.sheets import tags

QUEUED = 8
"""Offset of queued in the status; eight registers from there on hold accepted_seq and finished_seq, too."""


def structured_text(config: Config | None) -> str:
    """Return the function block for CODESYS, for the first target whose format is nul, or target 7."""
    number, target = _target(config, "nul")
    little = bool(target and target.byte_order == "little")
    return _ST.format(
        number=number,
        description=_comment(target),
        block=1000 * number,
        words=LONGEST_WRITE,
        last=LONGEST_WRITE - 1,
        longest=tags.longest_write(target),
        status=1000 * number + MIRROR + QUEUED,
        high="2 * i + 1" if little else "2 * i",
        low="2 * i" if little else "2 * i + 1",
        setting='byte_order = "little"' if little else "nothing, the defaults",
        hint=_hint(target, "nul"),
    )


def scl(config: Config | None) -> str:
    """Return the function block for TIA Portal, for the first target whose format is s7-string, or target 7."""
    number, target = _target(config, "s7-string")
    block = 1000 * number
    host, port, unit = tags.reach(config)
    if host.count(".") != 3:
        host = "127.0.0.1"
    a, b, c, d = host.split(".")
    return _SCL.format(
        number=number, description=_comment(target), reference=tags.REFERENCES[tags.HOLDING] + block,
        status_reference=tags.REFERENCES[tags.HOLDING] + block + MIRROR + QUEUED, a=a, b=b, c=c, d=d,
        port=port, unit=unit,
        hint=_hint(target, "s7-string"),
    )  # fmt: skip


def _target(config: Config | None, form: str) -> tuple[int, Target | None]:
    """Return the first target of that format, else the first one of all, else number 7 without settings."""
    targets = sorted(config.targets.items()) if config else []
    fitting = [item for item in targets if item[1].format == form and item[1].completion != "commit"]
    return next(iter([*fitting, *targets]), (7, None))


def _comment(target: Target | None) -> str:
    words = " ".join((target.description if target else "").split())
    return f"({words.replace('*)', '* )').replace('(*', '( *')}) " if words else ""


def _hint(target: Target | None, form: str) -> str:
    """Return what does not fit in the target's settings, for a comment."""
    if target is None:
        return ""
    coding, wrong = text.coding_of(target), []
    if coding.format != form:
        wrong.append(f'its format is "{coding.format}", not "{form}"')
    if target.completion == "commit":
        wrong.append(f"it waits for a write to register {1000 * target.number + COMMIT}")
    return f"\n   CHECK THE TARGET'S SETTINGS: {'; '.join(wrong)}." if wrong else ""


_ST = """\
(* Sends a string to target {number} of vdevice {description}and waits for what becomes of it. CODESYS 3.5.

   Device tree: Ethernet > Modbus TCP Master > Modbus TCP Slave (the address of vdevice), with two channels:
     "write": Write Multiple Registers (FC16), trigger rising edge, offset {block}, length {words}  -> wText, xWrite
     "read":  Read Holding Registers (FC03), cyclic 200 ms,         offset {status}, length 8     -> wStatus
   Setting of the target: {setting}. Library: SysMem.{hint} *)
FUNCTION_BLOCK FB_SendToVdevice
VAR_INPUT
    xExecute : BOOL;                            (* rising edge: send sText *)
    sText    : STRING({longest});
    (* queued, latency_ms, error, attempts, finished_at (2), accepted_seq, finished_seq *)
    wStatus  : ARRAY[0..7] OF WORD;
END_VAR
VAR_OUTPUT
    xWrite   : BOOL;                            (* trigger of the channel "write" *)
    wText    : ARRAY[0..{last}] OF WORD;        (* data of the channel "write" *)
    xBusy    : BOOL;
    xDone    : BOOL;                            (* delivered *)
    xError   : BOOL;                            (* given up: see uiError, or no answer within tTimeout *)
    uiError  : UINT;
END_VAR
VAR CONSTANT
    tTimeout : TIME := T#30S;
END_VAR
VAR
    rEdge    : R_TRIG;
    tonWait  : TON;
    uiState  : UINT;
    wBefore  : WORD;
    i        : INT;
    abText   : ARRAY[0..245] OF BYTE;
END_VAR

rEdge(CLK := xExecute);
tonWait(IN := uiState <> 0, PT := tTimeout);
CASE uiState OF
    0:  xWrite := FALSE;
        IF rEdge.Q THEN
            xBusy := TRUE; xDone := FALSE; xError := FALSE; uiError := 0;
            SysMemSet(ADR(abText), 0, SIZEOF(abText));
            SysMemCpy(ADR(abText), ADR(sText), INT_TO_UDINT(LEN(sText)));
            FOR i := 0 TO {last} DO
                wText[i] := SHL(BYTE_TO_WORD(abText[{high}]), 8) OR BYTE_TO_WORD(abText[{low}]);
            END_FOR
            wBefore := wStatus[6];
            xWrite := TRUE;
            uiState := 10;
        END_IF
    10: (* accepted_seq goes up when the string is on disk *)
        IF wStatus[6] <> wBefore THEN
            xWrite := FALSE;
            uiState := 20;
        END_IF
    20: (* equal, and none is queued: nothing is pending *)
        IF wStatus[6] = wStatus[7] AND wStatus[0] = 0 THEN
            uiError := WORD_TO_UINT(wStatus[2]);
            xDone := uiError = 0; xError := uiError <> 0; xBusy := FALSE;
            uiState := 0;
        END_IF
END_CASE
IF tonWait.Q THEN
    xBusy := FALSE; xError := TRUE; xWrite := FALSE; uiState := 0;
END_IF
END_FUNCTION_BLOCK
"""

_SCL = """\
// Sends a string to target {number} of vdevice {description}and waits for what becomes of it. TIA Portal, S7-1200/1500.
// Settings of the target: format = "s7-string", completion = "content" (STRING as it lies in memory).{hint}
// "Optimized block access" is off, as MB_CLIENT copies the bytes of Buffer as they lie in memory.
FUNCTION_BLOCK "SendToVdevice"
{{ S7_Optimized_Access := 'FALSE' }}
VERSION : 0.1
   VAR_INPUT
      Execute : Bool;                      // rising edge: send Text
      Text : String[244];
   END_VAR
   VAR_OUTPUT
      Busy : Bool;
      Done : Bool;                         // delivered
      Error : Bool;                        // given up (see Code), or MB_CLIENT failed (see Status)
      Code : Word;
      Status : Word;
   END_VAR
   VAR
      Client : MB_CLIENT;
      Connection : TCON_IP_v4;
      Buffer : String[244];                // 246 bytes
      Words AT Buffer : Array[0..122] of Word;
      Answer : Array[0..7] of Word;        // queued, latency_ms, error, attempts, finished_at (2), accepted_seq, finished_seq
      Before : Bool;
      State : Int;
      Request : Bool;
   END_VAR
BEGIN
   #Connection.InterfaceId := 64;
   #Connection.ID := 1;
   #Connection.ConnectionType := 16#0B;
   #Connection.ActiveEstablished := TRUE;
   #Connection.RemoteAddress.ADDR[1] := {a};
   #Connection.RemoteAddress.ADDR[2] := {b};
   #Connection.RemoteAddress.ADDR[3] := {c};
   #Connection.RemoteAddress.ADDR[4] := {d};
   #Connection.RemotePort := {port};

   IF #Execute AND NOT #Before AND #State = 0 THEN
      #Buffer := #Text;
      #Busy := TRUE; #Done := FALSE; #Error := FALSE; #Code := 0; #Status := 0;
      #Request := TRUE;
      #State := 1;
   END_IF;
   #Before := #Execute;

   CASE #State OF
      1: // the answer means that the string is on disk
         #Client(REQ := #Request, DISCONNECT := FALSE, MB_UNIT_ID := {unit}, MB_MODE := 1,
                 MB_DATA_ADDR := {reference}, MB_DATA_LEN := 123, MB_DATA_PTR := #Words, CONNECT := #Connection);
         IF #Client.DONE THEN
            #Request := FALSE;
            #State := 2;
         ELSIF #Client.ERROR THEN
            #Status := #Client.STATUS; #Error := TRUE; #Busy := FALSE; #Request := FALSE; #State := 0;
         END_IF;
      2: // one cycle without a request between two requests
         #Client(REQ := FALSE, DISCONNECT := FALSE, MB_UNIT_ID := {unit}, MB_MODE := 0,
                 MB_DATA_ADDR := {status_reference}, MB_DATA_LEN := 8, MB_DATA_PTR := #Answer, CONNECT := #Connection);
         #Request := TRUE;
         #State := 3;
      3: // accepted_seq and finished_seq equal, and none is queued: nothing is pending
         #Client(REQ := #Request, DISCONNECT := FALSE, MB_UNIT_ID := {unit}, MB_MODE := 0,
                 MB_DATA_ADDR := {status_reference}, MB_DATA_LEN := 8, MB_DATA_PTR := #Answer, CONNECT := #Connection);
         IF #Client.DONE THEN
            #Request := FALSE;
            IF #Answer[6] = #Answer[7] AND #Answer[0] = 0 THEN
               #Code := #Answer[2];
               #Done := #Code = 0; #Error := #Code <> 0; #Busy := FALSE; #State := 0;
            ELSE
               #State := 2;
            END_IF;
         ELSIF #Client.ERROR THEN
            #Status := #Client.STATUS; #Error := TRUE; #Busy := FALSE; #Request := FALSE; #State := 0;
         END_IF;
   END_CASE;
END_FUNCTION_BLOCK
"""
